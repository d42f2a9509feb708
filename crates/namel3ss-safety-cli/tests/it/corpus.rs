//! The inputs of fuzzing, through the same targets: what it found once is tried with every change.

#[expect(unreachable_pub, reason = "it is a crate of its own where it is fuzzed")]
#[path = "../../../../fuzz/src/lib.rs"]
mod targets;

use std::path::Path;

#[test]
#[expect(clippy::print_stdout, reason = "which input failed is shown with the failure")]
fn every_input_of_the_corpus_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, target) in targets::TARGETS {
        let mut inputs: Vec<_> = std::fs::read_dir(corpus.join(name))
            .unwrap_or_else(|error| panic!("read the corpus of {name}: {error}"))
            .map(|entry| entry.unwrap().path())
            .collect();
        inputs.sort();
        assert!(!inputs.is_empty(), "{name} has no inputs");
        for input in inputs {
            println!("{}", input.display());
            target(&std::fs::read(input).unwrap());
        }
    }
}
