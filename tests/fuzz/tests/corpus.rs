//! What was found once stays found: each target over its committed corpus, over the seeds and over every seed with one byte
//! changed or cut short. The search itself is `make fuzz`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};

use alys_fuzz::{TARGETS, seeds};

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    std::fs::read_dir(folder(target)).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
}

#[test]
fn the_corpus_breaks_no_promise() {
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        assert!(!corpus.is_empty(), "no corpus of {name}");
        corpus.iter().for_each(|bytes| target(bytes));
    }
}

#[test]
fn seeds_and_what_is_near_them_break_no_promise() {
    for (name, target) in TARGETS {
        let seeds = seeds::of(name);
        assert!(!seeds.is_empty(), "no seeds of {name}");
        for seed in seeds {
            target(&seed);
            // At most some hundred places of each, evenly spread.
            for place in (0..seed.len()).step_by(seed.len() / 200 + 1) {
                let mut changed = seed.clone();
                changed[place] ^= 0x41;
                target(&changed);
                target(&seed[..place]);
            }
        }
    }
}

#[test]
#[ignore = "writes: `make fuzz` runs it before a search"]
fn write_the_seeds_into_the_corpus() {
    for (name, _) in TARGETS {
        std::fs::create_dir_all(folder(name)).unwrap();
        for (number, seed) in seeds::of(name).iter().enumerate() {
            std::fs::write(folder(name).join(format!("seed-{number}")), seed).unwrap();
        }
    }
}
