//! The one binary.

fn main() -> std::process::ExitCode {
    alys::cli::main()
}
