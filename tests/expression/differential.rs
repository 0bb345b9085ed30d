//! Our evaluator against another implementation of CEL, the `cel` crate: random programs of the subset that both have.
//!
//! Programs are made by type, so that most of them have a value. What differs on purpose is not in that subset; it is in a
//! list of its own, with the reason.

use cel::objects::Key;
use everstep::expression::{Code, Program, Scope};
use serde_json::{Value as Json, json};

use super::random::{Random, setting};

const PROGRAMS: (&str, u64) = ("EVERSTEP_DIFFERENTIAL_PROGRAMS", 10_000);
const SEED: (&str, u64) = ("EVERSTEP_DIFFERENTIAL_SEED", 0x0ce1_0ce1);

/// What an implementation made of a program.
#[derive(Debug, Clone, PartialEq)]
enum Answer {
    Value(Json),
    Error(String),
}

/// Programs whose answers differ on purpose: ours, theirs, the reason. They are not in the random programs' subset.
const DIFFERENCES: [(&str, &str, &str, &str); 11] = [
    ("double('NaN') < 1.0", "false", ERROR, UNORDERED),
    ("1 + 0.5", "1.5", ERROR, "numbers mix, as JSON has one type of them"),
    (
        "input.n * input.d",
        "10.5",
        ERROR,
        "numbers mix, as JSON has one type of them",
    ),
    ("1u + 1", "2", ERROR, "there is one type of integers"),
    (
        "string(1e308)",
        r#""1e308""#,
        LONG,
        "large numbers are written as JSON writes them",
    ),
    (
        "string(1.0 / 0.0)",
        r#""+Inf""#,
        r#""inf""#,
        "infinity is written as in the reference implementation",
    ),
    ("sum([1, 2])", "3", ERROR, "an addition to the language"),
    ("max(1, 2)", "2", ERROR, "an addition to the language"),
    (
        "'a'.upperAscii()",
        r#""A""#,
        ERROR,
        "their string functions are an extension that is not loaded",
    ),
    (
        "'a,b'.split(',')",
        r#"["a","b"]"#,
        ERROR,
        "their string functions are an extension that is not loaded",
    ),
    (
        "math.abs(-1)",
        "1",
        ERROR,
        "their mathematics is an extension that is not loaded",
    ),
];
const ERROR: &str = "error";
const UNORDERED: &str = "what is no number compares as false";
/// The first characters of an answer stand for all of it.
const LONG: &str = r#""1000000"#;

#[test]
fn random_programs_have_the_value_that_another_implementation_gives_them() {
    let (count, seed) = (setting(PROGRAMS), setting(SEED));
    println!("{count} programs from seed {seed}");
    let data = data();
    let mut random = Random(seed);
    let (mut values, mut errors) = (0u64, 0u64);
    let mut wrong = Vec::new();
    for _ in 0..count {
        let mut source = String::new();
        let kind = KINDS[random.below(KINDS.len())];
        let depth = 1 + random.below(4);
        expression(&mut random, kind, depth, &mut source);
        let (ours, theirs) = (ours(&source, &data), theirs(&source, &data));
        match (&ours, &theirs) {
            (Answer::Value(a), Answer::Value(b)) if same(a, b) => values += 1,
            (Answer::Error(_), Answer::Error(_)) => errors += 1,
            // Computed by chance; see the list of differences.
            (Answer::Value(_), Answer::Error(message)) if message.ends_with("applied to '(double, double)'") => {}
            _ => wrong.push(format!("{source}\n    ours   {ours:?}\n    theirs {theirs:?}")),
        }
    }
    println!("{values} with the same value, {errors} with an error in both");
    wrong.sort_by_key(String::len);
    let shown = &wrong[..wrong.len().min(20)];
    assert!(
        wrong.is_empty(),
        "seed {seed}: {} differ, the shortest are\n{}",
        wrong.len(),
        shown.join("\n")
    );
    // The generator is worth something only while most of its programs have a value, and some have none.
    assert!(
        values > count / 2 && errors > count / 200,
        "{values} values, {errors} errors"
    );
}

#[test]
fn known_differences_are_still_there() {
    let data = data();
    let short = |answer: &Answer| match answer {
        Answer::Value(value) => value.to_string(),
        Answer::Error(_) => ERROR.to_owned(),
    };
    let mut wrong = Vec::new();
    for (source, expected_ours, expected_theirs, reason) in DIFFERENCES {
        let (ours, theirs) = (ours(source, &data), theirs(source, &data));
        let as_expected = short(&ours) == expected_ours
            && match expected_theirs {
                LONG => short(&theirs).starts_with(LONG),
                _ => short(&theirs) == expected_theirs,
            };
        if !as_expected {
            wrong.push(format!("{source} ({reason}): ours {ours:?}, theirs {theirs:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn ours(source: &str, data: &Json) -> Answer {
    let mut scope = Scope::new();
    scope.bind("input", data);
    let program = match Program::compile(source) {
        Ok(program) => program,
        Err(error) => return Answer::Error(format!("compile: {error}")),
    };
    match program.evaluate(&scope) {
        Ok(value) => Answer::Value(value),
        Err(error) => {
            assert_ne!(error.code, Code::Budget, "too large a program for this test: {source}");
            Answer::Error(error.to_string())
        }
    }
}

fn theirs(source: &str, data: &Json) -> Answer {
    let program = match cel::Program::compile(source) {
        Ok(program) => program,
        Err(error) => return Answer::Error(format!("compile: {error}")),
    };
    let mut context = cel::Context::default();
    context.add_variable_from_value("input", foreign(data));
    match program.execute(&context) {
        // JSON has no such numbers: an error of ours, null in their JSON.
        Ok(cel::Value::Float(number)) if !number.is_finite() => Answer::Error(number.to_string()),
        Ok(value) => match value.json() {
            Ok(json) => Answer::Value(json),
            Err(error) => Answer::Error(error.to_string()),
        },
        Err(error) => Answer::Error(error.to_string()),
    }
}

/// JSON as a value of the other implementation: integers are `int`, as in ours.
fn foreign(data: &Json) -> cel::Value {
    match data {
        Json::Null => cel::Value::Null,
        Json::Bool(value) => cel::Value::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(number) => cel::Value::Int(number),
            None => cel::Value::Float(number.as_f64().expect("a double")),
        },
        Json::String(text) => text.as_str().into(),
        Json::Array(items) => items.iter().map(foreign).collect::<Vec<_>>().into(),
        Json::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| (Key::from(name.as_str()), foreign(value)));
            fields.collect::<std::collections::HashMap<_, _>>().into()
        }
    }
}

/// An integer and a double of the same value are the same.
fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

fn data() -> Json {
    json!({
        "n": 7, "m": -3, "zero": 0, "d": 1.5, "e": -0.25, "t": "héllo wörld", "u": "abc", "empty": "", "yes": true, "no": false,
        "none": null, "l": [3, 1, 2], "k": [1.5, -2.0], "words": ["b", "a", "abc", ""], "nothing": [],
        "map": {"a": 1, "b": {"c": "deep"}}, "max": i64::MAX, "min": i64::MIN,
    })
}

/// The types that programs are made of: int, double, string, bool, list of ints, words.
const KINDS: [char; 6] = ['i', 'd', 's', 'b', 'l', 'w'];
/// Templates by the type of their value; `@i` stands for another expression of that type. A macro's variable is `x` where
/// it walks over ints, and `y` where it walks over words; outside of one both are unknown.
const SHAPES: [(char, &str); 85] = [
    ('i', "(@i + @i)"),
    ('i', "(@i - @i)"),
    ('i', "(@i * @i)"),
    ('i', "(@i / @i)"),
    ('i', "(@i % @i)"),
    ('i', "-(@i)"),
    ('i', "(@b ? @i : @i)"),
    ('i', "@l[@i]"),
    ('i', "size(@s)"),
    ('i', "size(@l)"),
    ('i', "@w.size()"),
    ('i', "int(@d)"),
    ('i', "int(string(@i))"),
    ('i', "int(@s)"),
    ('i', "{'a': @i, 'b': @i}.a"),
    ('i', "{'a': @i}[@s]"),
    ('d', "(@d + @d)"),
    ('d', "(@d - @d)"),
    ('d', "(@d * @d)"),
    ('d', "(@d / @d)"),
    ('d', "-(@d)"),
    ('d', "(@b ? @d : @d)"),
    ('d', "double(@i)"),
    ('d', "double(string(@i))"),
    ('s', "(@s + @s)"),
    ('s', "(@b ? @s : @s)"),
    ('s', "string(@i)"),
    ('s', "string(@b)"),
    ('s', "string(input.d)"),
    ('s', "@w[@i]"),
    ('b', "(@i == @i)"),
    ('b', "(@i != @i)"),
    ('b', "(@i < @i)"),
    ('b', "(@i <= @i)"),
    ('b', "(@i > @d)"),
    ('b', "(@d >= @i)"),
    ('b', "(@d == @i)"),
    ('b', "(@d < @d)"),
    ('b', "(@s == @s)"),
    ('b', "(@s < @s)"),
    ('b', "(@s >= @s)"),
    ('b', "(@b == @b)"),
    ('b', "(@l == @l)"),
    ('b', "(@w != @w)"),
    ('b', "(@b && @b)"),
    ('b', "(@b || @b)"),
    ('b', "!@b"),
    ('b', "(@b ? @b : @b)"),
    ('b', "@s.contains(@s)"),
    ('b', "@s.startsWith(@s)"),
    ('b', "@s.endsWith(@s)"),
    ('b', "@s.matches('^[a-z]+$')"),
    ('b', "@s.matches('l.o')"),
    ('b', "(@i in @l)"),
    ('b', "(@s in @w)"),
    ('b', "(@s in {'a': @i})"),
    ('b', "has(input.map.a)"),
    ('b', "has(input.map.x)"),
    ('b', "has(input.map.b.c)"),
    ('b', "has({'a': @i}.a)"),
    ('b', "@l.all(x, @b)"),
    ('b', "@l.exists(x, @b)"),
    ('b', "@l.exists_one(x, @b)"),
    ('b', "@w.all(y, @b)"),
    ('b', "@w.exists(y, y == @s)"),
    ('b', "@l.all(x, x > @i)"),
    ('b', "@l.exists_one(x, x == @i)"),
    ('b', "(@i == null)"),
    ('b', "(input.none == null)"),
    ('b', "(@s == @i)"),
    ('b', "({'a': @i} == {'a': @d})"),
    ('b', "(type(@i) == int)"),
    ('l', "[@i, @i]"),
    ('l', "(@l + @l)"),
    ('l', "(@b ? @l : @l)"),
    ('l', "@l.map(x, @i)"),
    ('l', "@l.map(x, x + @i)"),
    ('l', "@l.filter(x, @b)"),
    ('l', "@l.filter(x, x != @i)"),
    ('l', "@w.map(y, size(y))"),
    ('w', "[@s, @s, @s]"),
    ('w', "(@w + @w)"),
    ('w', "@w.filter(y, @b)"),
    ('w', "@w.map(y, y + @s)"),
    ('w', "@l.map(x, @s)"),
];
/// Expressions that stand for themselves.
const LEAVES: [(char, &str); 53] = [
    ('i', "0"),
    ('i', "1"),
    ('i', "-1"),
    ('i', "2"),
    ('i', "7"),
    ('i', "0x1F"),
    ('i', "9223372036854775807"),
    ('i', "-9223372036854775808"),
    ('i', "input.n"),
    ('i', "input.m"),
    ('i', "input.zero"),
    ('i', "input.l[0]"),
    ('i', "input['n']"),
    ('i', "input.map.a"),
    ('i', "input.max"),
    ('i', "input.min"),
    ('i', "input.absent"),
    ('i', "x"),
    ('d', "0.0"),
    ('d', "1.5"),
    ('d', "-2.25"),
    ('d', "1e3"),
    ('d', "input.d"),
    ('d', "input.e"),
    ('d', "input.k[1]"),
    ('d', "1e308"),
    ('s', "''"),
    ('s', "'a'"),
    ('s', "'abc'"),
    ('s', r#""x\ty""#),
    ('s', "'é😀'"),
    ('s', r"r'\d'"),
    ('s', "'1'"),
    ('s', "'-12'"),
    ('s', "input.t"),
    ('s', "input.u"),
    ('s', "input.empty"),
    ('s', "input.map.b.c"),
    ('s', "input.words[1]"),
    ('s', "input.map.absent"),
    ('s', "y"),
    ('b', "true"),
    ('b', "false"),
    ('b', "input.yes"),
    ('b', "input.no"),
    ('b', "input.no_such"),
    ('l', "[]"),
    ('l', "[1, 2, 3]"),
    ('l', "input.l"),
    ('l', "input.nothing"),
    ('w', "[]"),
    ('w', "['a', 'b']"),
    ('w', "input.words"),
];

fn expression(random: &mut Random, kind: char, depth: usize, out: &mut String) {
    if depth == 0 || random.below(6) == 0 {
        return out.push_str(one_of(random, &LEAVES, kind));
    }
    let mut rest = one_of(random, &SHAPES, kind).chars();
    while let Some(c) = rest.next() {
        match c {
            '@' => expression(random, rest.next().expect("a type after @"), depth - 1, out),
            _ => out.push(c),
        }
    }
}

fn one_of(random: &mut Random, table: &[(char, &'static str)], kind: char) -> &'static str {
    let of_kind: Vec<_> = table.iter().filter(|row| row.0 == kind).collect();
    of_kind[random.below(of_kind.len())].1
}
