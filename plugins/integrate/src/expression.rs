//! Formulas as in numpy: `sqrt(4 - xs**2)`, `2*np.sin(x) + 1`.

mod names;
mod parser;

use std::fmt;

/// Longer formulas are refused.
pub(crate) const LENGTH_MAX: usize = 4096;

/// Deeper nesting (parentheses, signs, powers of powers) is refused, long before it could use up the stack.
pub(crate) const DEPTH_MAX: usize = 100;

/// A formula in one variable, ready to be computed: a program for a stack machine.
#[derive(Debug)]
pub(crate) struct Expression {
    program: Vec<Step>,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    PushX,
    Push(f64),
    Apply(fn(f64) -> f64),
    Combine(fn(f64, f64) -> f64),
}

/// What is wrong with a formula, and where.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    problem: String,
    /// The formula and the index of the first wrong character in it, where there is one to point at.
    place: Option<(String, usize)>,
}

impl Expression {
    pub(crate) fn parse(text: &str) -> Result<Self, SyntaxError> {
        if text.len() > LENGTH_MAX {
            let problem = format!("the expression has {} bytes, at most {LENGTH_MAX} are read", text.len());
            return Err(SyntaxError { problem, place: None });
        }
        if text.trim().is_empty() {
            let problem = "the expression is empty".into();
            return Err(SyntaxError { problem, place: None });
        }
        let program = parser::parse(text)
            .map_err(|error| SyntaxError { problem: error.problem, place: Some((text.to_owned(), error.at)) })?;
        Ok(Self { program })
    }

    /// A function that computes the formula for any x. It keeps its stack from one call to the next.
    pub(crate) fn evaluator(&self) -> impl FnMut(f64) -> f64 + '_ {
        let mut stack = Vec::new();
        move |x| {
            stack.clear();
            for step in &self.program {
                let value = match *step {
                    Step::PushX => x,
                    Step::Push(value) => value,
                    Step::Apply(function) => function(pop(&mut stack)),
                    Step::Combine(function) => {
                        let right = pop(&mut stack);
                        function(pop(&mut stack), right)
                    }
                };
                stack.push(value);
            }
            pop(&mut stack)
        }
    }
}

fn pop(stack: &mut Vec<f64>) -> f64 {
    stack.pop().expect("the parser emits a step only after those that push its operands")
}

impl fmt::Display for SyntaxError {
    /// One sentence; then the formula, or the part of it around the mistake, with a caret below the place.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const AROUND: usize = 30;
        let Some((text, at)) = &self.place else {
            return out.write_str(&self.problem);
        };
        let first = at.saturating_sub(AROUND);
        let excerpt =
            text.chars().skip(first).take(2 * AROUND).map(|letter| if letter.is_control() { ' ' } else { letter });
        let before = if first > 0 { "..." } else { "" };
        let after = if text.chars().count() > first + 2 * AROUND { "..." } else { "" };
        writeln!(out, "{}", self.problem)?;
        writeln!(out, "    {before}{}{after}", excerpt.collect::<String>())?;
        write!(out, "    {:1$}^", "", before.len() + at - first)
    }
}

#[cfg(test)]
mod tests;
