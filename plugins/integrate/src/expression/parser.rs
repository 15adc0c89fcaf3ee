//! From text to a program. pest reads it, by the grammar in grammar.pest; its Pratt parser puts the operators in the
//! order that Python gives them; here each piece becomes a step, and each mistake a sentence.

use pest::Parser;
use pest::error::{Error, ErrorVariant, InputLocation};
use pest::iterators::{Pair, Pairs};
use pest::pratt_parser::{Assoc, ConstPrattParser, Op};
use pest::pratt_precedence;

use super::names::{self, Meaning};
use super::{DEPTH_MAX, Step};

#[derive(pest_derive::Parser)]
#[grammar = "expression/grammar.pest"]
struct Grammar;

/// Loosest first. A sign holds its operand tighter than `*` and looser than `**`, so that `-2**2` is -4.
static PRECEDENCE: ConstPrattParser<Rule, 9> = ConstPrattParser::new_const(pratt_precedence![
    Op::infix(Rule::add, Assoc::Left) | Op::infix(Rule::subtract, Assoc::Left),
    Op::infix(Rule::multiply, Assoc::Left)
        | Op::infix(Rule::divide, Assoc::Left)
        | Op::infix(Rule::floor_divide, Assoc::Left)
        | Op::infix(Rule::modulo, Assoc::Left),
    Op::prefix(Rule::positive) | Op::prefix(Rule::negative),
    Op::infix(Rule::power, Assoc::Right),
]);

/// What is wrong, and the index of the character where.
#[derive(Debug)]
pub(super) struct Misplaced {
    pub(super) problem: String,
    pub(super) at: usize,
}

/// The whole text as one program that leaves one value on the stack.
pub(super) fn parse(text: &str) -> Result<Vec<Step>, Misplaced> {
    // First, because everything after it calls itself once per level.
    check_depth(text)?;
    let mut formula = Grammar::parse(Rule::formula, text).map_err(|error| explain(text, error))?;
    program(formula.next().expect("a formula is an expression"))
}

/// Refuses brackets, signs and powers (whose right operand may be a power again) that nest too deep.
fn check_depth(text: &str) -> Result<(), Misplaced> {
    let mut depth = 0;
    // The depth just inside each bracket that is open.
    let mut open = Vec::new();
    let mut after_operand = false;
    for token in tokens(text) {
        match token.as_rule() {
            Rule::open => {
                depth += 1;
                open.push(depth);
            }
            Rule::close => depth = open.pop().map_or(0, |inside| inside - 1),
            Rule::power => depth += 1,
            Rule::add | Rule::subtract if !after_operand => depth += 1,
            Rule::number | Rule::name | Rule::unreadable => {}
            // Any other operator, a comma or the end: the signs and powers before it have all they hold.
            _ => depth = open.last().copied().unwrap_or(0),
        }
        after_operand = matches!(token.as_rule(), Rule::number | Rule::name | Rule::close);
        if depth > DEPTH_MAX {
            let at = index(text, token.as_span().start());
            let problem = format!("nested deeper than {DEPTH_MAX} levels at position {}", at + 1);
            return Err(Misplaced { problem, at });
        }
    }
    Ok(())
}

fn program(pair: Pair<Rule>) -> Result<Vec<Step>, Misplaced> {
    PRECEDENCE
        .map_primary(operand)
        .map_prefix(|sign, program| {
            let mut program = program?;
            if sign.as_rule() == Rule::negative {
                program.push(Step::Apply(|value| -value));
            }
            Ok(program)
        })
        .map_infix(|left, sign, right| {
            let mut program = left?;
            program.append(&mut right?);
            program.push(Step::Combine(function(sign.as_rule())));
            Ok(program)
        })
        .parse(pair.into_inner())
}

fn function(rule: Rule) -> fn(f64, f64) -> f64 {
    match rule {
        Rule::add => |left, right| left + right,
        Rule::subtract => |left, right| left - right,
        Rule::multiply => |left, right| left * right,
        Rule::divide => |left, right| left / right,
        Rule::floor_divide => |left, right| (left / right).floor(),
        Rule::modulo => |left, right| left - (left / right).floor() * right,
        Rule::power => f64::powf,
        _ => unreachable!("{rule:?} is no infix operator in PRECEDENCE"),
    }
}

fn operand(pair: Pair<Rule>) -> Result<Vec<Step>, Misplaced> {
    let mut parts = pair.into_inner();
    let first = next(&mut parts);
    match first.as_rule() {
        Rule::number => {
            let value = first.as_str().parse().expect("Rust reads every number that the grammar lets through");
            Ok(vec![Step::Push(value)])
        }
        Rule::reference => reference(first),
        _ => program(next(&mut parts)),
    }
}

/// A name, and its arguments in brackets if it has any.
fn reference(pair: Pair<Rule>) -> Result<Vec<Step>, Misplaced> {
    let mut parts = pair.into_inner();
    let name = next(&mut parts);
    let Some(meaning) = names::meaning(name.as_str()) else {
        let at = index(name.get_input(), name.as_span().start());
        let (text, position, known) = (name.as_str(), at + 1, names::known());
        let problem = format!("unknown name {text:?} at position {position}, known are: {known}");
        return Err(Misplaced { problem, at });
    };
    let (step, count) = match meaning {
        Meaning::X => (Step::PushX, 0),
        Meaning::Constant(value) => (Step::Push(value), 0),
        Meaning::Function(function) => (Step::Apply(function), 1),
        Meaning::FunctionOfTwo(function) => (Step::Combine(function), 2),
    };
    let mut program = arguments(name, parts, count)?;
    program.push(step);
    Ok(program)
}

/// The programs of all arguments in a row. `parts` is what follows the name: nothing, or `(`, the arguments with
/// commas between them, and `)`.
fn arguments(name: Pair<Rule>, mut parts: Pairs<Rule>, count: usize) -> Result<Vec<Step>, Misplaced> {
    let text = name.get_input();
    let mut program = Vec::new();
    match (parts.next(), count) {
        (None, 0) => return Ok(program),
        (Some(open), 0) => return Err(unexpected(text, open.as_span().start(), "an operator")),
        (None, _) => return Err(unexpected(text, name.as_span().end(), &format!("\"(\" after {}", name.as_str()))),
        (Some(_), _) => {}
    }
    for left in (0..count).rev() {
        program.append(&mut self::program(next(&mut parts))?);
        let after = next(&mut parts);
        let expected = match (after.as_rule(), left) {
            (Rule::comma, 1..) | (Rule::close, 0) => continue,
            (_, 0) => "an operator or \")\"".to_owned(),
            _ => format!("an operator or \",\" ({} takes {count} arguments)", name.as_str()),
        };
        return Err(unexpected(text, after.as_span().start(), &expected));
    }
    Ok(program)
}

fn next<'a>(parts: &mut Pairs<'a, Rule>) -> Pair<'a, Rule> {
    parts.next().expect("the grammar gives each rule all of its parts")
}

/// pest knows how far it came and which rules would have gone on from there.
fn explain(text: &str, error: Error<Rule>) -> Misplaced {
    let (InputLocation::Pos(byte) | InputLocation::Span((byte, _))) = error.location;
    let mut expected: Vec<&str> = Vec::new();
    if let ErrorVariant::ParsingError { positives, .. } = error.variant {
        for description in positives.into_iter().filter_map(description) {
            if !expected.contains(&description) {
                expected.push(description);
            }
        }
    }
    unexpected(text, byte, &expected.join(" or "))
}

/// What a client may write where the grammar would take `rule`. Signs go without saying, and so does the end.
fn description(rule: Rule) -> Option<&'static str> {
    Some(match rule {
        Rule::expression | Rule::operand | Rule::reference | Rule::number | Rule::name => "a number, a name or \"(\"",
        Rule::open => "\"(\"",
        Rule::close => "\")\"",
        Rule::comma => "\",\"",
        Rule::positive | Rule::negative | Rule::EOI => return None,
        _ => "an operator",
    })
}

/// Names the first token at or after a place.
fn unexpected(text: &str, byte: usize, expected: &str) -> Misplaced {
    let token = tokens(&text[byte..]).next().expect("the last token is the end");
    let at = index(text, byte + token.as_span().start());
    let found = match (token.as_rule(), token.as_str()) {
        (Rule::EOI, _) => "end".to_owned(),
        (_, "^") => "\"^\" (a power is written **)".to_owned(),
        (_, other) => format!("{other:?}"),
    };
    Misplaced { problem: format!("unexpected {found} at position {}, expected {expected}", at + 1), at }
}

/// All tokens, ending with `EOI`.
fn tokens(text: &str) -> Pairs<'_, Rule> {
    Grammar::parse(Rule::tokens, text).expect("any character is a token or a space")
}

/// The characters before a byte.
fn index(text: &str, byte: usize) -> usize {
    text[..byte].chars().count()
}
