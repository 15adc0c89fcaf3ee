//! The names a formula may use, and what they stand for.

use std::f64::consts;

#[derive(Clone, Copy)]
pub(super) enum Meaning {
    X,
    Constant(f64),
    Function(fn(f64) -> f64),
    FunctionOfTwo(fn(f64, f64) -> f64),
}

/// numpy's names. Each may also be written with `np.` or `numpy.` before it.
const NAMES: [(&str, Meaning); 31] = [
    ("x", Meaning::X),
    ("xs", Meaning::X),
    ("pi", Meaning::Constant(consts::PI)),
    ("e", Meaning::Constant(consts::E)),
    ("sqrt", Meaning::Function(f64::sqrt)),
    ("exp", Meaning::Function(f64::exp)),
    ("log", Meaning::Function(f64::ln)),
    ("log2", Meaning::Function(f64::log2)),
    ("log10", Meaning::Function(f64::log10)),
    ("sin", Meaning::Function(f64::sin)),
    ("cos", Meaning::Function(f64::cos)),
    ("tan", Meaning::Function(f64::tan)),
    ("arcsin", Meaning::Function(f64::asin)),
    ("arccos", Meaning::Function(f64::acos)),
    ("arctan", Meaning::Function(f64::atan)),
    ("asin", Meaning::Function(f64::asin)),
    ("acos", Meaning::Function(f64::acos)),
    ("atan", Meaning::Function(f64::atan)),
    ("sinh", Meaning::Function(f64::sinh)),
    ("cosh", Meaning::Function(f64::cosh)),
    ("tanh", Meaning::Function(f64::tanh)),
    ("abs", Meaning::Function(f64::abs)),
    ("floor", Meaning::Function(f64::floor)),
    ("ceil", Meaning::Function(f64::ceil)),
    ("maximum", Meaning::FunctionOfTwo(maximum)),
    ("minimum", Meaning::FunctionOfTwo(minimum)),
    ("power", Meaning::FunctionOfTwo(f64::powf)),
    ("pow", Meaning::FunctionOfTwo(f64::powf)),
    ("arctan2", Meaning::FunctionOfTwo(f64::atan2)),
    ("atan2", Meaning::FunctionOfTwo(f64::atan2)),
    ("hypot", Meaning::FunctionOfTwo(f64::hypot)),
];

const MODULES: [&str; 2] = ["np.", "numpy."];

/// What `name` stands for, with or without a module before it.
pub(super) fn meaning(name: &str) -> Option<Meaning> {
    let name = MODULES.iter().find_map(|module| name.strip_prefix(module)).unwrap_or(name);
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, meaning)| *meaning)
}

/// All names, for a message.
pub(super) fn known() -> String {
    NAMES.map(|(name, _)| name).join(", ")
}

/// Unlike `f64::max`, numpy's answers NaN if either is.
fn maximum(left: f64, right: f64) -> f64 {
    if left.is_nan() || right.is_nan() { f64::NAN } else { left.max(right) }
}

fn minimum(left: f64, right: f64) -> f64 {
    if left.is_nan() || right.is_nan() { f64::NAN } else { left.min(right) }
}
