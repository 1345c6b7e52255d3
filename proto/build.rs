//! Compiles `proto/alys/*.proto` without a `protoc` (protox) and turns each role's service into a typed inbox:
//! one enum variant per method, with the reply port of what is asked. `alys.governance` is real gRPC (tonic).

use std::fmt::Write as _;
use std::path::PathBuf;

use prost_build::{Method, Service, ServiceGenerator};
use prost_reflect::{DescriptorPool, Value};

/// By the numbers of `alys.Lane`.
const LANES: [&str; 3] = ["Normal", "Control", "Bulk"];

const GRPC_PACKAGE: &str = "alys.governance";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir("proto/alys")?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.sort();

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).open_files(&files)?;
    let descriptors = compiler.file_descriptor_set();
    // With the options of fields: what messages look like to people is read from it at run time.
    let whole = PathBuf::from(std::env::var("OUT_DIR")?).join("descriptors.bin");
    std::fs::write(whole, compiler.descriptor_pool().encode_to_vec())?;
    let generator = Generator { grpc: tonic_prost_build::configure().service_generator(), pool: compiler.descriptor_pool() };

    let mut config = prost_build::Config::new();
    config.service_generator(Box::new(generator)).include_file("packages.rs").compile_fds(descriptors)?;
    Ok(())
}

struct Generator {
    grpc: Box<dyn ServiceGenerator>,
    pool: DescriptorPool,
}

impl ServiceGenerator for Generator {
    fn generate(&mut self, service: Service, buf: &mut String) {
        if service.package == GRPC_PACKAGE {
            self.grpc.generate(service, buf);
        } else {
            Inbox { service: &service, pool: &self.pool }.write(buf).expect("writing to a string");
        }
    }

    fn finalize_package(&mut self, package: &str, buf: &mut String) {
        if package == GRPC_PACKAGE {
            self.grpc.finalize_package(package, buf);
        }
    }
}

struct Inbox<'a> {
    service: &'a Service,
    pool: &'a DescriptorPool,
}

impl Inbox<'_> {
    fn write(&self, out: &mut String) -> std::fmt::Result {
        self.write_enum(out)?;
        self.write_impl(out)?;
        for method in &self.service.methods {
            let name = &method.proto_name;
            let input = &method.input_type;
            let lane = format!("crate::Lane::{}", LANES[self.option(method, "alys.lane")]);
            if told(method) {
                writeln!(
                    out,
                    "impl crate::wire::Tell<Inbox> for {input} {{ const NAME: &'static str = \"{name}\"; const LANE: crate::Lane = {lane}; }}"
                )?;
                if self.option(method, "alys.delivery") == 1 {
                    writeln!(out, "impl crate::wire::Post<Inbox> for {input} {{}}")?;
                }
            } else {
                assert_eq!(self.option(method, "alys.delivery"), 0, "{name}: only what is told is delivered at least once");
                let output = &method.output_type;
                writeln!(
                    out,
                    "impl crate::wire::Ask<Inbox> for {input} {{ type Reply = {output}; const NAME: &'static str = \"{name}\"; const LANE: crate::Lane = {lane}; }}"
                )?;
            }
        }
        Ok(())
    }

    fn write_enum(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "/// Everything that enters `{}`.", self.service.proto_name)?;
        writeln!(out, "pub enum Inbox {{")?;
        for method in &self.service.methods {
            for line in &method.comments.leading {
                writeln!(out, "    ///{line}")?;
            }
            let name = &method.proto_name;
            let input = &method.input_type;
            if told(method) {
                writeln!(out, "    {name}({input}),")?;
            } else {
                writeln!(out, "    {name}({input}, crate::wire::Reply<{}>),", method.output_type)?;
            }
        }
        writeln!(out, "}}")
    }

    fn write_impl(&self, out: &mut String) -> std::fmt::Result {
        let methods = &self.service.methods;
        writeln!(out, "impl crate::wire::Inbox for Inbox {{")?;
        writeln!(out, "    const SERVICE: &'static str = \"{}\";", self.service.package.trim_start_matches("alys."))?;
        writeln!(out, "    const METHODS: &'static [crate::wire::Method] = &[")?;
        for method in methods {
            writeln!(
                out,
                "        crate::wire::Method {{ name: \"{}\", told: {}, lane: crate::Lane::{}, backpressure: crate::BackpressureStrategy::{}, longest: {}, delivery: crate::Delivery::{}, unfenced: {} }},",
                method.proto_name,
                told(method),
                LANES[self.option(method, "alys.lane")],
                ["Reject", "DropOldest", "Coalesce", "NeverDrop"][self.option(method, "alys.backpressure")],
                match self.option(method, "alys.longest_seconds") {
                    0 => "None".to_owned(),
                    seconds => format!("Some(std::time::Duration::from_secs({seconds}))"),
                },
                ["AtMostOnce", "AtLeastOnce"][self.option(method, "alys.delivery")],
                self.option(method, "alys.unfenced") == 1,
            )?;
        }
        writeln!(out, "    ];")?;
        writeln!(
            out,
            "    fn decode(name: &str, body: &[u8], port: Option<crate::wire::ReplyPort>) -> Result<Self, crate::wire::Refused> {{"
        )?;
        writeln!(out, "        match name {{")?;
        for method in methods {
            let name = &method.proto_name;
            if told(method) {
                writeln!(out, "            \"{name}\" => crate::wire::decode_told(body, port).map(Self::{name}),")?;
            } else {
                writeln!(
                    out,
                    "            \"{name}\" => crate::wire::decode_asked(body, port).map(|(m, r)| Self::{name}(m, r)),"
                )?;
            }
        }
        writeln!(out, "            _ => Err(crate::wire::refuse(port, crate::wire::Refused::Unknown(name.to_owned()))),")?;
        writeln!(out, "        }}\n    }}")?;
        writeln!(out, "    fn name(&self) -> &'static str {{\n        match self {{")?;
        for method in methods {
            writeln!(out, "            Self::{0}(..) => \"{0}\",", method.proto_name)?;
        }
        writeln!(out, "        }}\n    }}")?;
        writeln!(out, "    fn describe(name: &str, body: &[u8]) -> String {{\n        match name {{")?;
        for method in methods {
            let message = method.input_proto_type.trim_start_matches('.');
            writeln!(out, "            \"{}\" => crate::describe::text(\"{message}\", body),", method.proto_name)?;
        }
        writeln!(out, "            _ => String::from(\"unknown message\"),\n        }}\n    }}\n}}")
    }

    /// The number of an option of a method, 0 where the .proto does not say.
    fn option(&self, method: &Method, name: &str) -> usize {
        let service_name = format!("{}.{}", self.service.package, self.service.proto_name);
        let service = self.pool.get_service_by_name(&service_name).expect("the service was compiled from this pool");
        let descriptor =
            service.methods().find(|m| m.name() == method.proto_name).expect("the method was compiled from this pool");
        let extension = self.pool.get_extension_by_name(name).expect("options.proto declares it");
        match descriptor.options().get_extension(&extension).as_ref() {
            Value::EnumNumber(number) => usize::try_from(*number).expect("options.proto has no negative numbers"),
            Value::U32(number) => usize::try_from(*number).expect("a 32-bit number"),
            Value::Bool(set) => usize::from(*set),
            _ => 0,
        }
    }
}

/// A method that returns `Told` is told: nobody waits for its answer.
fn told(method: &Method) -> bool {
    method.output_proto_type == ".alys.common.Told"
}
