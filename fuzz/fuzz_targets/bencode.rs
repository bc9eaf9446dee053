//! Any bytes as bencode: both readers agree on what is complete, and every value can be walked.
#![no_main]

use btblocker_detectors::bencode::{Value, parse, parse_prefix, visit};
use libfuzzer_sys::fuzz_target;

fn walk(value: Value<'_>, depth: usize) {
    assert!(depth < 64, "nested without limit");
    match value {
        Value::List(list) => list.items().for_each(|item| walk(item, depth + 1)),
        Value::Dict(dict) => dict.entries().for_each(|(_, value)| walk(value, depth + 1)),
        Value::Bytes(_) | Value::Int(_) => {}
    }
}

fuzz_target!(|input: &[u8]| {
    let whole = parse(input);
    if let Ok(value) = whole {
        walk(value, 0);
        assert!(parse_prefix(input).is_ok_and(|(_, rest)| rest.is_empty()));
    }
    let mut keys = 0;
    let visited = visit(input, |_, value| {
        keys += 1;
        walk(value, 1);
    });
    assert!(keys <= input.len());
    if matches!(whole, Ok(Value::Dict(_))) {
        assert!(visited.is_ok());
    }
});
