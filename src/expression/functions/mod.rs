//! The functions: how they are called ([`Function`]) and what they do, by theme. Macros are the parser's.

mod clock;
mod convert;
mod number;
mod text;

use super::error::{Code, EvaluationError};
use super::limits::Budget;
use super::value::{Outcome, Text, Value};

/// The most arguments that a function takes, its receiver included.
pub(super) const ARGUMENTS: usize = 4;

/// A function, whatever the style in which it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Matches,
    Contains,
    StartsWith,
    EndsWith,
    CharAt,
    IndexOf,
    LastIndexOf,
    LowerAscii,
    UpperAscii,
    Replace,
    Split,
    Join,
    Substring,
    Trim,
    Reverse,
    Int,
    Uint,
    Double,
    String,
    Bool,
    Bytes,
    Timestamp,
    Duration,
    Type,
    Dyn,
    Sum,
    Min,
    Max,
    Round,
    Ceil,
    Floor,
    Truncate,
    Abs,
    Sign,
    Year,
    Month,
    DayOfYear,
    DayOfMonth,
    Date,
    DayOfWeek,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

/// Where a name may stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Global,
    Method,
    Both,
    /// Behind `math.` only.
    Math,
}

/// What a name and a number of arguments stand for.
pub(super) enum Found {
    Function(Function),
    /// There is no such name.
    Nothing,
    /// The name wants another number of arguments; for the message.
    Arguments(String),
}

/// Name, style, and how many arguments it takes, the receiver included.
#[rustfmt::skip]
const TABLE: [(&str, Style, usize, usize, Function); 53] = [
    ("size", Style::Both, 1, 1, Function::Size),
    ("matches", Style::Both, 2, 2, Function::Matches),
    ("contains", Style::Method, 2, 2, Function::Contains),
    ("startsWith", Style::Method, 2, 2, Function::StartsWith),
    ("endsWith", Style::Method, 2, 2, Function::EndsWith),
    ("charAt", Style::Method, 2, 2, Function::CharAt),
    ("indexOf", Style::Method, 2, 3, Function::IndexOf),
    ("lastIndexOf", Style::Method, 2, 3, Function::LastIndexOf),
    ("lowerAscii", Style::Method, 1, 1, Function::LowerAscii),
    ("upperAscii", Style::Method, 1, 1, Function::UpperAscii),
    ("replace", Style::Method, 3, 4, Function::Replace),
    ("split", Style::Both, 2, 3, Function::Split),
    ("join", Style::Both, 1, 2, Function::Join),
    ("substring", Style::Method, 2, 3, Function::Substring),
    ("trim", Style::Method, 1, 1, Function::Trim),
    ("reverse", Style::Method, 1, 1, Function::Reverse),
    ("int", Style::Global, 1, 1, Function::Int),
    ("uint", Style::Global, 1, 1, Function::Uint),
    ("double", Style::Global, 1, 1, Function::Double),
    ("string", Style::Global, 1, 1, Function::String),
    ("bool", Style::Global, 1, 1, Function::Bool),
    ("bytes", Style::Global, 1, 1, Function::Bytes),
    ("timestamp", Style::Global, 1, 1, Function::Timestamp),
    ("duration", Style::Global, 1, 1, Function::Duration),
    ("type", Style::Global, 1, 1, Function::Type),
    ("dyn", Style::Global, 1, 1, Function::Dyn),
    ("sum", Style::Both, 1, 1, Function::Sum),
    ("min", Style::Method, 1, 1, Function::Min),
    ("max", Style::Method, 1, 1, Function::Max),
    ("min", Style::Global, 1, usize::MAX, Function::Min),
    ("max", Style::Global, 1, usize::MAX, Function::Max),
    ("round", Style::Both, 1, 2, Function::Round),
    ("ceil", Style::Both, 1, 1, Function::Ceil),
    ("floor", Style::Both, 1, 1, Function::Floor),
    ("abs", Style::Both, 1, 1, Function::Abs),
    ("least", Style::Math, 1, usize::MAX, Function::Min),
    ("greatest", Style::Math, 1, usize::MAX, Function::Max),
    ("round", Style::Math, 1, 1, Function::Round),
    ("ceil", Style::Math, 1, 1, Function::Ceil),
    ("floor", Style::Math, 1, 1, Function::Floor),
    ("trunc", Style::Math, 1, 1, Function::Truncate),
    ("abs", Style::Math, 1, 1, Function::Abs),
    ("sign", Style::Math, 1, 1, Function::Sign),
    ("getFullYear", Style::Method, 1, 2, Function::Year),
    ("getMonth", Style::Method, 1, 2, Function::Month),
    ("getDayOfYear", Style::Method, 1, 2, Function::DayOfYear),
    ("getDayOfMonth", Style::Method, 1, 2, Function::DayOfMonth),
    ("getDate", Style::Method, 1, 2, Function::Date),
    ("getDayOfWeek", Style::Method, 1, 2, Function::DayOfWeek),
    ("getHours", Style::Method, 1, 2, Function::Hours),
    ("getMinutes", Style::Method, 1, 2, Function::Minutes),
    ("getSeconds", Style::Method, 1, 2, Function::Seconds),
    ("getMilliseconds", Style::Method, 1, 2, Function::Milliseconds),
];

impl Function {
    /// `name(arguments)`
    pub(super) fn global(name: &str, arguments: usize) -> Found {
        find(name, arguments, 0, |style| matches!(style, Style::Global | Style::Both))
    }

    /// `receiver.name(arguments)`; the receiver counts as an argument.
    pub(super) fn method(name: &str, arguments: usize) -> Found {
        find(name, arguments, 1, |style| matches!(style, Style::Method | Style::Both))
    }

    /// `math.name(arguments)`
    pub(super) fn math(name: &str, arguments: usize) -> Found {
        find(name, arguments, 0, |style| style == Style::Math)
    }

    /// Whether several arguments are taken as one list of them.
    pub(super) fn is_variadic(self) -> bool {
        matches!(self, Function::Min | Function::Max)
    }
}

fn find(name: &str, arguments: usize, receiver: usize, wanted: impl Fn(Style) -> bool) -> Found {
    let Some((_, _, least, most, function)) = TABLE.iter().find(|row| row.0 == name && wanted(row.1)) else {
        return Found::Nothing;
    };
    if (*least..=*most).contains(&arguments) {
        return Found::Function(*function);
    }
    let (least, most) = (least - receiver, most.saturating_sub(receiver));
    Found::Arguments(match (least, most) {
        (least, usize::MAX) => format!("at least {least} arguments"),
        (0, 0) => "no arguments".into(),
        (1, 1) => "1 argument".into(),
        (least, most) if least == most => format!("{least} arguments"),
        (least, most) => format!("{least} to {most} arguments"),
    })
}

/// The value of a call. Arguments beyond those that were given are null and not looked at.
pub(super) fn call<'a>(
    function: Function,
    arguments: &[Value<'a>; ARGUMENTS],
    given: usize,
    budget: &mut Budget,
) -> Outcome<'a> {
    let [first, second, third, fourth] = arguments;
    let second_given = (given > 1).then_some(second);
    let third_given = (given > 2).then_some(third);
    let fourth_given = (given > 3).then_some(fourth);
    match function {
        Function::Size => text::size(first, budget),
        Function::Matches => Err(EvaluationError::new(
            Code::Invalid,
            "a pattern is compiled with the expression",
        )),
        Function::Contains => text::contains(first, second, budget),
        Function::StartsWith => text::starts_with(first, second, budget),
        Function::EndsWith => text::ends_with(first, second, budget),
        Function::CharAt => text::char_at(first, second, budget),
        Function::IndexOf => text::index_of(first, second, third_given, budget),
        Function::LastIndexOf => text::last_index_of(first, second, third_given, budget),
        Function::LowerAscii => text::lower_ascii(first, budget),
        Function::UpperAscii => text::upper_ascii(first, budget),
        Function::Replace => text::replace(first, second, third, fourth_given, budget),
        Function::Split => text::split(first, second, third_given, budget),
        Function::Join => text::join(first, second_given, budget),
        Function::Substring => text::substring(first, second, third_given, budget),
        Function::Trim => text::trim(first, budget),
        Function::Reverse => text::reverse(first, budget),
        Function::Int => convert::int(first),
        Function::Uint => convert::uint(first),
        Function::Double => convert::double(first),
        Function::String => convert::string(first, budget),
        Function::Bool => convert::bool(first),
        Function::Bytes => convert::bytes(first, budget),
        Function::Timestamp => convert::timestamp(first),
        Function::Duration => convert::duration(first),
        Function::Type => Ok(Value::Type(first.type_name())),
        Function::Dyn => Ok(first.clone()),
        Function::Sum => number::sum(first, budget),
        Function::Min => number::extreme("min", first, std::cmp::Ordering::Less, budget),
        Function::Max => number::extreme("max", first, std::cmp::Ordering::Greater, budget),
        Function::Round => number::round(first, second_given),
        Function::Ceil => number::whole("ceil", first, f64::ceil),
        Function::Floor => number::whole("floor", first, f64::floor),
        Function::Truncate => number::whole("trunc", first, f64::trunc),
        Function::Abs => number::abs(first),
        Function::Sign => number::sign(first),
        Function::Year
        | Function::Month
        | Function::DayOfYear
        | Function::DayOfMonth
        | Function::Date
        | Function::DayOfWeek
        | Function::Hours
        | Function::Minutes
        | Function::Seconds
        | Function::Milliseconds => clock::field(function, first, second_given),
    }
}

/// The argument as a text, or the error that names the function.
fn text_of<'v, 'a>(function: &str, value: &'v Value<'a>) -> Result<&'v Text<'a>, EvaluationError> {
    match value {
        Value::Text(text) => Ok(text),
        _ => Err(refused(function, value)),
    }
}

/// The argument as an integer, or the error that names the function.
fn int_of(function: &str, value: &Value<'_>) -> Result<i64, EvaluationError> {
    match value {
        Value::Int(number) => Ok(*number),
        _ => Err(refused(function, value)),
    }
}

fn refused(function: &str, value: &Value<'_>) -> EvaluationError {
    EvaluationError::new(
        Code::Type,
        format!("{function}() does not take a value of type {}", value.type_name()),
    )
}
