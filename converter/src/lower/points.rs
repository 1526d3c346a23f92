//! Points between the inputs of an interpolated table: where a function jumps, has a corner, or is steep.

/// A function at every input of a table from the first one on, in steps of the result; `None` where it is not defined.
pub(super) type Exact = [Option<f64>];

/// An input, counted from the first one on, the result that the line from below ends at, and the one that the line from above starts at.
pub(super) type Point = (usize, i16, i16);

/// Points that make a table with an entry every `step` inputs as exact as `tolerance`; `None` if more than `most` are needed.
pub(super) fn fit(exact: &Exact, step: usize, tolerance: f64, most: usize) -> Option<Vec<Point>> {
    let mut points = Vec::new();
    for start in (0..exact.len() - 1).step_by(step) {
        let interval = Interval {
            exact,
            end: start + step,
            tolerance,
        };
        interval.divide(start, &mut points, most)?;
    }
    Some(points)
}

/// What lies between two entries of a table.
struct Interval<'e> {
    exact: &'e Exact,
    end: usize,
    tolerance: f64,
}

impl Interval<'_> {
    /// Adds few points: from each on, a long line.
    fn divide(&self, start: usize, points: &mut Vec<Point>, most: usize) -> Option<()> {
        let mut from = start;
        while !self.is_line(from, self.end, self.rounded(self.end)) {
            if points.len() == most {
                return None;
            }
            let (at, below) = self.longest(from);
            points.push((at, below, self.rounded(at)));
            if at == self.end {
                break;
            }
            from = at;
        }
        Some(())
    }

    fn rounded(&self, at: usize) -> i16 {
        self.exact[at].unwrap_or(0.0).round() as i16
    }

    /// The end of a line that is exact enough, and the result there: a longer one is not, where the function bends one way.
    fn longest(&self, from: usize) -> (usize, i16) {
        let good = |at: usize| {
            let ends = self.ends_at(from, at).into_iter();
            ends.map(|below| (at, below))
                .find(|&(at, below)| self.is_line(from, at, below))
        };
        // A line over one input is exact.
        let mut longest = (from + 1, self.rounded(from));
        let (mut bad, mut length) = (self.end + 1, 2);
        while from + length < bad {
            match good(from + length) {
                Some(found) => (longest, length) = (found, length * 2),
                None => bad = from + length,
            }
        }
        while bad - longest.0 > 1 {
            let middle = longest.0.midpoint(bad);
            match good(middle) {
                Some(found) => longest = found,
                None => bad = middle,
            }
        }
        longest
    }

    /// The results that a line may end at: the function's, and, where it jumps, what continues the line before.
    fn ends_at(&self, from: usize, at: usize) -> [i16; 2] {
        let last = f64::from(self.rounded(at - 1));
        let first = f64::from(self.rounded(from));
        let slope = match at - 1 - from {
            0 => 0.0,
            length => (last - first) / length as f64,
        };
        [self.rounded(at), (last + slope).round() as i16]
    }

    /// Whether no result of a line is further off than the tolerance.
    fn is_line(&self, from: usize, to: usize, below: i16) -> bool {
        let (first, length) = (f64::from(self.rounded(from)), (to - from) as f64);
        let rise = (f64::from(below) - first) / length;
        let mut inside = self.exact[from..to].iter().enumerate();
        inside.all(|(at, exact)| {
            exact.is_none_or(|exact| (first + rise * at as f64 - exact).abs() <= self.tolerance)
        })
    }
}
