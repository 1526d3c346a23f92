//! Functions of one variable: trees of elementary operations.
//!
//! Any chain of elementwise nodes between two tensors is one such function, and becomes one table.

use std::fmt;

/// A function of `x`.
#[derive(Clone, Debug, PartialEq)]
pub enum Function {
    /// `x` itself.
    Input,
    /// A number.
    Constant(f64),
    /// An elementary function of another one.
    Unary(Unary, Box<Function>),
    /// Two functions, combined.
    Binary(Binary, Box<Function>, Box<Function>),
    /// The second function where the first is not 0, the third elsewhere.
    Choice(Box<[Function; 3]>),
}

/// Elementary functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unary {
    /// `max(x, 0)`
    Relu,
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// The error function.
    Erf,
    /// `e^x`
    Exp,
    /// Square root; 0 below 0.
    Sqrt,
    /// Magnitude.
    Abs,
    /// `log(1 + e^x)`
    Softplus,
    /// Natural logarithm; of the smallest positive number below that.
    Log,
    /// Sine.
    Sin,
    /// Cosine.
    Cos,
    /// Tangent.
    Tan,
    /// Inverse of the sine; of the nearest of -1 and 1 beyond them.
    Asin,
    /// Inverse of the cosine; of the nearest of -1 and 1 beyond them.
    Acos,
    /// Inverse of the tangent.
    Atan,
    /// Hyperbolic sine.
    Sinh,
    /// Hyperbolic cosine.
    Cosh,
    /// Inverse of the hyperbolic sine.
    Asinh,
    /// Inverse of the hyperbolic cosine; of 1 below 1.
    Acosh,
    /// Inverse of the hyperbolic tangent; of the nearest number within beyond -1 and 1.
    Atanh,
    /// The greatest whole number below.
    Floor,
    /// The smallest whole number above.
    Ceil,
    /// The nearest whole number; of two the even one.
    Round,
    /// The nearest whole number towards 0.
    Trunc,
}

/// Operations on two functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient.
    Div,
    /// The greater.
    Max,
    /// The smaller.
    Min,
    /// Power.
    Pow,
    /// 1 where the first is greater, 0 elsewhere.
    Greater,
    /// 1 where both are the same, 0 elsewhere.
    Equal,
}

/// The greatest number of 32 bits below 1.
const WITHIN: f64 = 1.0 - f32::EPSILON as f64 / 2.0;

impl Unary {
    fn eval(self, x: f64) -> f64 {
        match self {
            Self::Relu => x.max(0.0),
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::Tanh => x.tanh(),
            Self::Erf => libm::erf(x),
            Self::Exp => x.exp(),
            Self::Sqrt => x.max(0.0).sqrt(),
            Self::Abs => x.abs(),
            Self::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
            Self::Log => x.max(f64::from(f32::MIN_POSITIVE)).ln(),
            Self::Sin => x.sin(),
            Self::Cos => x.cos(),
            Self::Tan => x.tan(),
            Self::Asin => x.clamp(-1.0, 1.0).asin(),
            Self::Acos => x.clamp(-1.0, 1.0).acos(),
            Self::Atan => x.atan(),
            Self::Sinh => x.sinh(),
            Self::Cosh => x.cosh(),
            Self::Asinh => x.asinh(),
            Self::Acosh => x.max(1.0).acosh(),
            Self::Atanh => x.clamp(-WITHIN, WITHIN).atanh(),
            Self::Floor => x.floor(),
            Self::Ceil => x.ceil(),
            Self::Round => x.round_ties_even(),
            Self::Trunc => x.trunc(),
        }
    }
}

impl Binary {
    fn eval(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Add => a + b,
            Self::Sub => a - b,
            Self::Mul => a * b,
            Self::Div => a / b,
            Self::Max => a.max(b),
            Self::Min => a.min(b),
            Self::Pow => a.powf(b),
            Self::Greater => f64::from(u8::from(a > b)),
            Self::Equal => f64::from(u8::from(a == b)),
        }
    }
}

impl Function {
    /// `x * factor`
    pub fn scaled(factor: f64) -> Self {
        if factor == 1.0 {
            Self::Input
        } else {
            Self::Input.with(Binary::Mul, Self::Constant(factor))
        }
    }

    /// `unary(self)`
    pub fn then(self, unary: Unary) -> Self {
        Self::Unary(unary, Box::new(self))
    }

    /// `binary(self, other)`
    pub fn with(self, binary: Binary, other: Self) -> Self {
        Self::Binary(binary, Box::new(self), Box::new(other))
    }

    /// Of how many elementary functions it is made.
    pub fn size(&self) -> usize {
        match self {
            Self::Input | Self::Constant(_) => 1,
            Self::Unary(_, inner) => 1 + inner.size(),
            Self::Binary(_, a, b) => 1 + a.size() + b.size(),
            Self::Choice(parts) => 1 + parts.iter().map(Self::size).sum::<usize>(),
        }
    }

    /// `chosen` where `condition` is not 0, `other` elsewhere.
    pub fn choice(condition: Self, chosen: Self, other: Self) -> Self {
        Self::Choice(Box::new([condition, chosen, other]))
    }

    /// `self(inner(x))`
    pub fn of(&self, inner: &Self) -> Self {
        match self {
            Self::Input => inner.clone(),
            Self::Constant(value) => Self::Constant(*value),
            Self::Unary(unary, f) => f.of(inner).then(*unary),
            Self::Binary(binary, f, g) => f.of(inner).with(*binary, g.of(inner)),
            Self::Choice(parts) => Self::Choice(Box::new(parts.each_ref().map(|f| f.of(inner)))),
        }
    }

    /// Slope and offset of a function that is a straight line as it is written.
    pub fn line(&self) -> Option<(f64, f64)> {
        let Self::Binary(binary, f, g) = self else {
            return match self {
                Self::Input => Some((1.0, 0.0)),
                Self::Constant(value) => Some((0.0, *value)),
                _ => None,
            };
        };
        let ((a, b), (c, d)) = (f.line()?, g.line()?);
        match binary {
            Binary::Add => Some((a + c, b + d)),
            Binary::Sub => Some((a - c, b - d)),
            Binary::Mul if a == 0.0 || c == 0.0 => Some((a * d + b * c, b * d)),
            Binary::Div if c == 0.0 && d != 0.0 => Some((a / d, b / d)),
            _ => None,
        }
    }

    /// The value at `x`.
    pub fn eval(&self, x: f64) -> f64 {
        match self {
            Self::Input => x,
            Self::Constant(value) => *value,
            Self::Unary(unary, inner) => unary.eval(inner.eval(x)),
            Self::Binary(binary, a, b) => binary.eval(a.eval(x), b.eval(x)),
            Self::Choice(parts) => {
                let [condition, chosen, other] = &**parts;
                match condition.eval(x) != 0.0 {
                    true => chosen.eval(x),
                    false => other.eval(x),
                }
            }
        }
    }

    /// `gamma * (max(x, 0) + min(alpha * (e^x - 1), 0))`
    pub fn selu(alpha: f64, gamma: f64) -> Self {
        Self::elu(alpha).with(Binary::Mul, Self::Constant(gamma))
    }

    /// `max(x, 0) + min(alpha * (e^(x / alpha) - 1), 0)`
    pub fn celu(alpha: f64) -> Self {
        let power = Self::scaled(1.0 / alpha).then(Unary::Exp);
        let below = power
            .with(Binary::Sub, Self::Constant(1.0))
            .with(Binary::Mul, Self::Constant(alpha));
        let below = below.with(Binary::Min, Self::Constant(0.0));
        Self::Input.then(Unary::Relu).with(Binary::Add, below)
    }

    /// `x / (1 + |x|)`
    pub fn softsign() -> Self {
        let magnitude = Self::Input.then(Unary::Abs);
        Self::Input.with(
            Binary::Div,
            magnitude.with(Binary::Add, Self::Constant(1.0)),
        )
    }

    /// `x * tanh(log(1 + e^x))`
    pub fn mish() -> Self {
        let tanh = Self::Input.then(Unary::Softplus).then(Unary::Tanh);
        Self::Input.with(Binary::Mul, tanh)
    }

    /// `x / (1 + e^(-alpha * x))`
    pub fn swish(alpha: f64) -> Self {
        Self::Input.with(Binary::Mul, Self::scaled(alpha).then(Unary::Sigmoid))
    }

    /// `x * Phi(x)`, the exact form.
    pub fn gelu() -> Self {
        let erf = Self::scaled(std::f64::consts::FRAC_1_SQRT_2).then(Unary::Erf);
        let twice = erf.with(Binary::Add, Self::Constant(1.0));
        Self::scaled(0.5).with(Binary::Mul, twice)
    }

    /// GELU's tanh approximation.
    pub fn gelu_tanh() -> Self {
        let cube = Self::Input.with(Binary::Pow, Self::Constant(3.0));
        let inner = Self::Input.with(
            Binary::Add,
            cube.with(Binary::Mul, Self::Constant(0.044_715)),
        );
        let tanh = inner
            .with(
                Binary::Mul,
                Self::Constant((2.0 / std::f64::consts::PI).sqrt()),
            )
            .then(Unary::Tanh);
        Self::scaled(0.5).with(Binary::Mul, tanh.with(Binary::Add, Self::Constant(1.0)))
    }

    /// `x * sigmoid(x)`
    pub fn silu() -> Self {
        Self::Input.with(Binary::Mul, Self::Input.then(Unary::Sigmoid))
    }

    /// `x * clamp(x + 3, 0, 6) / 6`
    pub fn hard_swish() -> Self {
        Self::Input.with(Binary::Mul, Self::hard_sigmoid(1.0 / 6.0, 0.5))
    }

    /// `clamp(alpha * x + beta, 0, 1)`
    pub fn hard_sigmoid(alpha: f64, beta: f64) -> Self {
        let line = Self::scaled(alpha).with(Binary::Add, Self::Constant(beta));
        line.with(Binary::Max, Self::Constant(0.0))
            .with(Binary::Min, Self::Constant(1.0))
    }

    /// `x` above 0, `alpha * x` below.
    pub fn leaky_relu(alpha: f64) -> Self {
        let below = Self::scaled(alpha).with(Binary::Min, Self::Constant(0.0));
        Self::Input.then(Unary::Relu).with(Binary::Add, below)
    }

    /// `x` above 0, `alpha * (e^x - 1)` below.
    pub fn elu(alpha: f64) -> Self {
        let below = Self::Input
            .with(Binary::Min, Self::Constant(0.0))
            .then(Unary::Exp);
        let below = below
            .with(Binary::Sub, Self::Constant(1.0))
            .with(Binary::Mul, Self::Constant(alpha));
        Self::Input.then(Unary::Relu).with(Binary::Add, below)
    }

    /// Name for reports: the name of a well-known function with these values, in any spelling.
    pub fn name(&self) -> &'static str {
        let known = [
            ("Relu", Self::Input.then(Unary::Relu)),
            ("Sigmoid", Self::Input.then(Unary::Sigmoid)),
            ("Tanh", Self::Input.then(Unary::Tanh)),
            ("Gelu", Self::gelu()),
            ("GeluTanh", Self::gelu_tanh()),
            ("Silu", Self::silu()),
            ("HardSwish", Self::hard_swish()),
        ];
        let same = |other: &Self| {
            (-40..=40)
                .map(|i| f64::from(i) / 8.0)
                .all(|x| (self.eval(x) - other.eval(x)).abs() < 1e-6)
        };
        known
            .iter()
            .find(|(_, function)| same(function))
            .map_or("Function", |(name, _)| name)
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_function_have_one_name() {
        // As PyTorch's exporters write it: x * (0.5 * (erf(x / sqrt(2)) + 1)).
        let erf = Function::Input
            .with(Binary::Div, Function::Constant(2f64.sqrt()))
            .then(Unary::Erf);
        let half = Function::Constant(0.5)
            .with(Binary::Mul, erf.with(Binary::Add, Function::Constant(1.0)));
        let spelled = Function::Input.with(Binary::Mul, half);
        assert_eq!((spelled.name(), Function::gelu().name()), ("Gelu", "Gelu"));
        assert_eq!(Function::gelu_tanh().name(), "GeluTanh");
        assert_eq!(Function::elu(1.0).name(), "Function");
    }

    #[test]
    fn lines_are_told_from_curves() {
        let number = Function::Constant;
        let line = Function::scaled(3.0).with(Binary::Add, number(1.0));
        let line = line.with(Binary::Div, number(2.0));
        assert_eq!(line.line(), Some((1.5, 0.5)));
        assert_eq!(
            number(2.0).with(Binary::Sub, line).line(),
            Some((-1.5, 1.5))
        );
        let square = Function::Input.with(Binary::Mul, Function::Input);
        assert_eq!(square.line(), None);
        assert_eq!(Function::Input.then(Unary::Relu).line(), None);
    }

    #[test]
    fn functions_have_their_values() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} for {b}");
        close(Function::elu(0.5).eval(-1.0), 0.5 * ((-1f64).exp() - 1.0));
        close(Function::leaky_relu(0.1).eval(-2.0), -0.2);
        close(Function::hard_swish().eval(1.0), 4.0 / 6.0);
        close(Function::Input.then(Unary::Softplus).eval(100.0), 100.0);
        close(Function::Input.then(Unary::Round).eval(2.5), 2.0);
        close(Function::Input.then(Unary::Trunc).eval(-1.7), -1.0);
    }
}
