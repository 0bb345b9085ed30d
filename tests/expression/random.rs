//! Random programs: whatever the text and the data, nothing panics and no budget is exceeded.

use everstep::expression::{Code, Program, Scope};
use serde_json::{Value as Json, json};

/// How many programs are tried, and from which seed; printed, and changed by the environment.
const PROGRAMS: (&str, u64) = (
    "EVERSTEP_FUZZ_PROGRAMS",
    if cfg!(debug_assertions) { 100_000 } else { 1_000_000 },
);
const SEED: (&str, u64) = ("EVERSTEP_FUZZ_SEED", 0x00e5_7e90);

#[test]
fn random_programs_neither_panic_nor_exceed_their_budget() {
    let (count, seed) = (setting(PROGRAMS), setting(SEED));
    println!("{count} programs from seed {seed}");
    let data = data();
    let mut scope = Scope::new();
    scope.bind("input", &data);
    let mut random = Random(seed);
    let (mut compiled, mut succeeded, mut exhausted) = (0u64, 0u64, 0u64);
    for _ in 0..count {
        let mut source = String::new();
        let size = 2 + random.below(5);
        expression(&mut random, size, &mut source);
        if random.below(3) == 0 {
            source = mutated(&mut random, &source);
        }
        let Ok(program) = Program::compile(&source) else {
            continue;
        };
        compiled += 1;
        let (result, cost) = program.measure(&scope);
        assert!(
            cost.steps <= 10_000 && cost.bytes <= 1024 * 1024,
            "seed {seed}, {source}: {cost:?}"
        );
        match result {
            Ok(_) => succeeded += 1,
            Err(error) => {
                assert!(error.message.len() < 400, "seed {seed}, {source}: {error}");
                exhausted += u64::from(error.code == Code::Budget);
            }
        }
    }
    println!("{compiled} compiled, {succeeded} succeeded, {exhausted} ran out");
    // The generator is worth something only while it reaches all three endings.
    assert!(compiled > count / 2 && succeeded > count / 20 && exhausted > count / 10_000);
}

pub(super) fn setting((name, default): (&str, u64)) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(default, |text| text.parse().expect("a number"))
}

fn data() -> Json {
    json!({
        "n": 7, "d": 1.5, "t": "héllo wörld", "b": true, "z": null, "big": u64::MAX, "min": i64::MIN,
        "l": (0..40).collect::<Vec<i32>>(), "m": {"a": {"b": [1, "x", null]}, "c": "d"},
        "at": "2026-03-01T12:00:00Z", "for": "1h30m", "long": "ab".repeat(40_000),
    })
}

/// A small generator of numbers (splitmix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    pub(super) fn pick<'t>(&mut self, from: &[&'t str]) -> &'t str {
        from[self.below(from.len())]
    }
}

/// Templates of the grammar; `#` stands for another expression.
const SHAPES: [&str; 62] = [
    "(# + #)",
    "(# - #)",
    "(# * #)",
    "(# / #)",
    "(# % #)",
    "(# == #)",
    "(# != #)",
    "(# < #)",
    "(# >= #)",
    "(# in #)",
    "(# || #)",
    "(# && #)",
    "(# ? # : #)",
    "!#",
    "-#",
    "[#, #]",
    "[#, #, #]",
    "{#: #, #: #}",
    "{'a': #}",
    "#[#]",
    "#.a",
    "has(input.m.#a)",
    "#.map(x, #)",
    "#.map(x, #, #)",
    "#.filter(x, #)",
    "#.all(x, #)",
    "#.exists(x, #)",
    "#.exists_one(x, #)",
    "input.l.map(x, input.l.map(y, #))",
    "size(#)",
    "int(#)",
    "double(#)",
    "string(#)",
    "bool(#)",
    "bytes(#)",
    "timestamp(#)",
    "duration(#)",
    "type(#)",
    "sum(#)",
    "min(#, #)",
    "max(#)",
    "round(#, #)",
    "floor(#)",
    "abs(#)",
    "#.join(#)",
    "#.split(#, #)",
    "#.replace(#, #)",
    "#.replace(#, #, #)",
    "#.substring(#, #)",
    "#.charAt(#)",
    "#.indexOf(#, #)",
    "#.lastIndexOf(#, #)",
    "#.trim()",
    "#.reverse()",
    "#.upperAscii()",
    "#.contains(#)",
    "#.matches('(a|b)*[^c]$')",
    "#.getHours(#)",
    "#.getFullYear()",
    "math.sign(#)",
    "input.l.map(x, input.long)",
    "timestamp(input.at) + duration(#)",
];
const LEAVES: [&str; 37] = [
    "0",
    "1",
    "-1",
    "2.5",
    "1e308",
    "9223372036854775807",
    "-9223372036854775808",
    "0x10",
    "3u",
    "true",
    "false",
    "null",
    "''",
    "'a'",
    "'é😀'",
    "r'\\'",
    "b'\\xff'",
    "','",
    "x",
    "y",
    "input",
    "input.n",
    "input.d",
    "input.t",
    "input.big",
    "input.min",
    "input.l",
    "input.m",
    "input.m.a.b",
    "input.m['c']",
    "input.long",
    "input.z",
    "input.at",
    "input.for",
    "int",
    "'+02:00'",
    "'Europe/Berlin'",
];

fn expression(random: &mut Random, depth: usize, out: &mut String) {
    if depth == 0 || random.below(6) == 0 {
        return out.push_str(random.pick(&LEAVES));
    }
    for c in random.pick(&SHAPES).chars() {
        if c == '#' {
            expression(random, depth - 1, out);
        } else {
            out.push(c);
        }
    }
}

/// The text with a few characters changed, dropped, doubled or moved.
fn mutated(random: &mut Random, source: &str) -> String {
    const ALPHABET: &str = "()[]{}.,?:+-*/%<>=!&|'\"\\`#rbuxe019 \n_aéin😀\0";
    let alphabet: Vec<char> = ALPHABET.chars().collect();
    let mut chars: Vec<char> = source.chars().collect();
    for _ in 0..1 + random.below(3) {
        let at = random.below(chars.len() + 1);
        let c = alphabet[random.below(alphabet.len())];
        match random.below(4) {
            0 => chars.insert(at, c),
            1 if at < chars.len() => chars[at] = c,
            2 if at < chars.len() => drop(chars.remove(at)),
            _ => chars.extend_from_within(at.min(chars.len())..),
        }
    }
    chars.into_iter().collect()
}
