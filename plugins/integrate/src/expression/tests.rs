//! Known values (as Python and numpy give them) and the wording of refusals.

use super::*;

fn value(text: &str, x: f64) -> f64 {
    let expression = Expression::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    expression.evaluator()(x)
}

fn refusal(text: &str) -> String {
    Expression::parse(text).expect_err(text).to_string()
}

#[test]
fn precedence_is_that_of_python() {
    for (text, expected) in [
        ("1+2*3", 7.0),
        ("(1+2)*3", 9.0),
        ("10-4-3", 3.0),
        ("100/10/5", 2.0),
        ("2**3**2", 512.0),
        ("(2**3)**2", 64.0),
        ("-2**2", -4.0),
        ("(-2)**2", 4.0),
        ("--2**2", 4.0),
        ("2**-1", 0.5),
        ("2**-2**2", 0.0625),
        ("2**-1*4", 2.0),
        ("2*-3", -6.0),
        ("2*-3+1", -5.0),
        ("2--3", 5.0),
        ("2+-+-3", 5.0),
        ("-2*3", -6.0),
        ("-3**2*2", -18.0),
        ("2*3**2", 18.0),
        ("7//2", 3.0),
        ("-7//2", -4.0),
        ("-7%3", 2.0),
        ("7 % -3", -2.0),
        ("2*7%4", 2.0),
    ] {
        assert_eq!(value(text, f64::NAN), expected, "{text}");
    }
}

#[test]
fn numbers_are_written_as_in_python() {
    for (text, expected) in [
        ("2", 2.0),
        ("2.", 2.0),
        (".5", 0.5),
        ("1.25", 1.25),
        ("1e3", 1000.0),
        ("1E-3", 0.001),
        ("2.5e+2", 250.0),
        ("1e999", f64::INFINITY),
        (" \t 1 \n + 1 ", 2.0),
    ] {
        assert_eq!(value(text, 0.0), expected, "{text}");
    }
}

#[test]
fn names_are_those_of_numpy() {
    use std::f64::consts::{E, FRAC_PI_2, PI};
    for (text, expected) in [
        ("x", 3.0),
        ("xs", 3.0),
        ("pi", PI),
        ("e", E),
        ("sqrt(xs**2)", 3.0),
        ("np.sqrt(numpy.power(x, 2))", 3.0),
        ("np.pi/2", FRAC_PI_2),
        ("sin(pi/2)", 1.0),
        ("cos(0)", 1.0),
        ("tan(0)", 0.0),
        ("arcsin(1)", FRAC_PI_2),
        ("asin(1)", FRAC_PI_2),
        ("arccos(1)", 0.0),
        ("4*arctan(1)", PI),
        ("atan2(1, 0)", FRAC_PI_2),
        ("arctan2(0, -1)", PI),
        ("sinh(0)+cosh(0)+tanh(0)", 1.0),
        ("log(e)", 1.0),
        ("log2(8)", 3.0),
        ("log10(1000)", 3.0),
        ("exp(0)", 1.0),
        ("abs(-x)", 3.0),
        ("floor(-0.5)", -1.0),
        ("ceil(0.5)", 1.0),
        ("maximum(1, minimum(x, 2))", 2.0),
        ("hypot(3, 4)", 5.0),
        ("sin (0) * 2", 0.0),
        ("-sin(pi/2)**2", -1.0),
    ] {
        assert!((value(text, 3.0) - expected).abs() < 1e-15, "{text} = {}", value(text, 3.0));
    }
}

#[test]
fn what_has_no_value_is_not_a_number() {
    for text in ["sqrt(-1)", "log(-1)", "(-1)**0.5", "maximum(sqrt(-1), 1)", "minimum(1, 0*log(0))", "1%0"] {
        assert!(value(text, 0.0).is_nan(), "{text} = {}", value(text, 0.0));
    }
    assert_eq!(value("1/x", 0.0), f64::INFINITY);
    assert_eq!(value("log(x)", 0.0), f64::NEG_INFINITY);
}

#[test]
fn refusals_point_at_the_place() {
    for (text, expected, place) in [
        ("sqrt(4+*xs)", "unexpected \"*\" at position 8, expected a number, a name or \"(\"", 8),
        ("2 +", "unexpected end at position 4, expected a number, a name or \"(\"", 4),
        ("(1+2", "unexpected end at position 5, expected an operator or \")\"", 5),
        ("1+2)", "unexpected \")\" at position 4, expected an operator", 4),
        ("()", "unexpected \")\" at position 2, expected a number", 2),
        ("2x", "unexpected \"x\" at position 2, expected an operator", 2),
        ("x(2)", "unexpected \"(\" at position 2, expected an operator", 2),
        ("sin x", "unexpected \"x\" at position 5, expected an operator or \"(\"", 5),
        ("sin", "unexpected end at position 4, expected \"(\" after sin", 4),
        ("np.sin + 1", "unexpected \"+\" at position 8, expected \"(\" after np.sin", 8),
        ("power(1, 2, 3)", "unexpected \",\" at position 11, expected an operator or \")\"", 11),
        ("sin(power(1, 2)", "unexpected end at position 16, expected an operator or \")\"", 16),
        ("pi()", "unexpected \")\" at position 4, expected a number, a name or \"(\"", 4),
        ("sin(1, 2)", "unexpected \",\" at position 6, expected an operator or \")\"", 6),
        ("power(2)", "unexpected \")\" at position 8, expected an operator or \",\" (power takes 2 arguments)", 8),
        ("1 + foo(2)", "unknown name \"foo\" at position 5, known are: x, xs, pi", 5),
        ("np.foo", "unknown name \"np.foo\" at position 1", 1),
        ("math.sin(x)", "unknown name \"math.sin\" at position 1", 1),
        ("y", "unknown name \"y\" at position 1", 1),
        ("x^2", "unexpected \"^\" (a power is written **) at position 2", 2),
        ("x ** * 2", "unexpected \"*\" at position 6", 6),
        ("x***2", "unexpected \"*\" at position 4", 4),
        ("x = 2", "unexpected \"=\" at position 3", 3),
        ("é + §", "unexpected \"§\" at position 5", 5),
        ("1.2.3", "unexpected \".3\" at position 4, expected an operator", 4),
        ("1 .", "unexpected \".\" at position 3", 3),
        ("x\0", "unexpected \"\\0\" at position 2", 2),
    ] {
        let message = refusal(text);
        let lines: Vec<&str> = message.lines().collect();
        assert!(message.starts_with(expected), "{text}: {message}");
        assert_eq!(lines.len(), 3, "{message}");
        assert_eq!(lines[2].find('^'), Some(4 + place - 1), "{message}");
    }
}

#[test]
fn a_long_formula_is_quoted_around_the_mistake() {
    let text = format!("{}x ? x{}", "1+".repeat(100), "+1".repeat(100));
    let message = refusal(&text);
    let lines: Vec<&str> = message.lines().collect();
    assert!(message.starts_with("unexpected \"?\" at position 203"), "{message}");
    assert!(lines[1].len() < 80 && lines[1].trim().starts_with("...") && lines[1].ends_with("..."), "{message}");
    assert_eq!(lines[1].find('?'), lines[2].find('^'), "{message}");
}

#[test]
fn length_and_depth_are_bounded() {
    assert_eq!(value(&format!("{}1", "1+".repeat(2047)), 0.0), 2048.0);
    assert!(refusal(&"x".repeat(4097)).starts_with("the expression has 4097 bytes, at most 4096"));

    let nested = |depth: usize| format!("{}x{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(value(&nested(100), 7.0), 7.0);
    assert!(refusal(&nested(101)).starts_with("nested deeper than 100 levels at position 101"));
    for deep in [nested(2000), "-".repeat(4000) + "x", "x**".repeat(1300) + "x", "sin(".repeat(1000)] {
        assert!(refusal(&deep).starts_with("nested deeper than 100 levels"));
    }
    // Signs and powers go on nesting through whatever stands between them, brackets and exponents included.
    for (part, levels) in [("-(", 2), ("2**-", 2), ("2**1e-3**", 2), ("(1)**", 1), ("power(1,-", 2), ("1+2*3**(", 2)] {
        let text = |count: usize| part.repeat(count) + "x";
        assert!(!is_too_deep(&text(100 / levels)), "{part}");
        assert!(is_too_deep(&text(100 / levels + 1)), "{part}");
    }
    // Long is not deep.
    assert_eq!(value(&("1-".repeat(2000) + "1"), 0.0), -1999.0);
}

fn is_too_deep(text: &str) -> bool {
    Expression::parse(text).is_err_and(|error| error.to_string().starts_with("nested deeper than 100 levels"))
}

#[test]
fn every_short_text_is_either_read_or_refused() {
    let letters = ["x", "2", ".", "e", "(", ")", "*", "-", ",", "sin", "power(", " ", "1e", "é"];
    let mut texts = vec![String::new()];
    for _ in 0..4 {
        texts = texts.iter().flat_map(|text| letters.iter().map(move |letter| format!("{text}{letter}"))).collect();
        for text in &texts {
            match Expression::parse(text) {
                Ok(expression) => drop(expression.evaluator()(1.0)),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    }
}
