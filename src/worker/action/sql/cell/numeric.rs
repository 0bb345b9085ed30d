//! `numeric` as JSON: a number when the number says exactly the same, else its text. Not other numbers.

use serde_json::{Number, Value};

use super::{Problem, Reader, fixed};

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const MINUS_INFINITY: u16 = 0xF000;

/// Integers of 64 bits become JSON integers; other values become doubles when the shortest text of the double is the
/// value itself (true for up to 15 digits); all others stay text, digit for digit.
pub(super) fn value(raw: &[u8]) -> Result<Value, Problem> {
    let text = text(raw)?;
    if let Ok(integer) = text.parse::<i64>() {
        return Ok(Value::from(integer));
    }
    let exact = text
        .parse::<f64>()
        .ok()
        .filter(|float| float.is_finite() && float.to_string() == plain(&text));
    Ok(exact
        .and_then(Number::from_f64)
        .map_or(Value::String(text), Value::Number))
}

/// Wire format: count of base-10000 digits, weight of the first, sign, digits after the point, the digits.
fn text(raw: &[u8]) -> Result<String, Problem> {
    let mut reader = Reader(raw);
    let mut short = || -> Result<[u8; 2], Problem> { fixed(reader.bytes(2)?) };
    let count = u16::from_be_bytes(short()?);
    let weight = i32::from(i16::from_be_bytes(short()?));
    let sign = u16::from_be_bytes(short()?);
    let scale = usize::from(u16::from_be_bytes(short()?));
    match sign {
        POSITIVE | NEGATIVE => {}
        NAN => return Ok("NaN".to_owned()),
        INFINITY => return Ok("Infinity".to_owned()),
        MINUS_INFINITY => return Ok("-Infinity".to_owned()),
        _ => return Err("a numeric of an unknown kind".into()),
    }
    let digits = (0..count)
        .map(|_| Ok(u16::from_be_bytes(short()?)))
        .collect::<Result<Vec<_>, Problem>>()?;
    let group = |position: i32| {
        usize::try_from(weight - position)
            .ok()
            .and_then(|index| digits.get(index))
            .copied()
            .unwrap_or_default()
    };

    let mut text = String::new();
    if sign == NEGATIVE {
        text.push('-');
    }
    let whole: String = (0..=weight.max(0))
        .rev()
        .map(|position| format!("{:04}", group(position)))
        .collect();
    let whole = whole.trim_start_matches('0');
    text.push_str(if whole.is_empty() { "0" } else { whole });
    if scale > 0 {
        let groups = i32::try_from(scale.div_ceil(4))?;
        let mut fraction: String = (1..=groups)
            .map(|position| format!("{:04}", group(-position)))
            .collect();
        fraction.truncate(scale);
        text.push('.');
        text.push_str(&fraction);
    }
    Ok(text)
}

/// Without the zeros that only say how the column was declared.
fn plain(text: &str) -> &str {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn raw(weight: i16, sign: u16, scale: u16, digits: &[u16]) -> Vec<u8> {
        let count = u16::try_from(digits.len()).unwrap();
        let mut raw = [
            count.to_be_bytes(),
            weight.to_be_bytes(),
            sign.to_be_bytes(),
            scale.to_be_bytes(),
        ]
        .concat();
        raw.extend(digits.iter().flat_map(|digit| digit.to_be_bytes()));
        raw
    }

    #[test]
    fn numbers_that_say_the_same_are_numbers_and_others_text() {
        for (raw, expected) in [
            (raw(0, POSITIVE, 0, &[]), json!(0)),
            (raw(0, POSITIVE, 0, &[42]), json!(42)),
            (raw(1, NEGATIVE, 0, &[12, 3456]), json!(-123_456)),
            (raw(2, POSITIVE, 0, &[1]), json!(100_000_000)),
            (raw(0, POSITIVE, 2, &[12, 5000]), json!(12.5)),
            (raw(0, POSITIVE, 2, &[12]), json!(12.0)),
            (raw(-1, POSITIVE, 1, &[1000]), json!(0.1)),
            (
                raw(-2, NEGATIVE, 6, &[1200]),
                json!("-0.000012").as_str().map(|_| json!(-0.000_012)).unwrap(),
            ),
            (
                raw(4, POSITIVE, 0, &[9999, 9999, 9999, 9999, 9999]),
                json!("99999999999999999999"),
            ),
            (
                raw(0, POSITIVE, 20, &[0, 1234, 5678, 9012, 3456, 7890]),
                json!("0.12345678901234567890"),
            ),
            (raw(0, NAN, 0, &[]), json!("NaN")),
            (raw(0, INFINITY, 0, &[]), json!("Infinity")),
        ] {
            assert_eq!(value(&raw).unwrap(), expected);
        }
        assert!(value(&[0, 1]).is_err());
        assert!(value(&raw(0, 0x1234, 0, &[])).is_err());
    }
}
