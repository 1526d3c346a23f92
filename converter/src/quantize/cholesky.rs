//! The triangular factor of a positive definite matrix, in tiles of 4 x 4 that stay in registers.
//!
//! Each element takes its products in the order of the plain algorithm, column after column, so the sizes of tiles and caches never
//! change a result.

/// Rows and columns of a tile.
const TILE: usize = 4;

type Column = [f64; TILE];

/// `L` of `L L^T`.
pub struct Factor {
    /// Rows in groups of [`TILE`], each column by column up to the diagonal; the last group is filled up with the unit matrix.
    panels: Vec<Vec<Column>>,
}

impl Factor {
    /// Factors the matrix `[k, k]` of which `element` gives row and column in the lower triangle; `None` if it is not positive definite.
    pub fn new(k: usize, element: impl Fn(usize, usize) -> f64) -> Option<Self> {
        let padded = |i: usize, j: usize| match i < k && j < k {
            true if j <= i => element(i, j),
            _ => f64::from(u8::from(i == j)),
        };
        let panel = |at: usize| -> Vec<Column> {
            let column = |j| core::array::from_fn(|row| padded(at * TILE + row, j));
            (0..(at + 1) * TILE).map(column).collect()
        };
        let mut panels: Vec<_> = (0..k.div_ceil(TILE)).map(panel).collect();
        for at in 0..panels.len() {
            let (done, below) = panels.split_at_mut(at + 1);
            let pivot = done.last_mut()?;
            let (left, tile) = pivot.split_at_mut(at * TILE);
            let tile = tile.first_chunk_mut()?;
            subtract(tile, left, left);
            factor(tile)?;
            for panel in below {
                let (before, rest) = panel.split_at_mut(at * TILE);
                let under = rest.first_chunk_mut()?;
                subtract(under, before, left);
                solve(under, tile);
            }
        }
        Some(Self { panels })
    }

    /// The element in row `i` and column `j`, in the lower triangle.
    pub fn at(&self, i: usize, j: usize) -> f64 {
        self.panels[i / TILE][j][i % TILE]
    }
}

/// Takes the products of `rows` with `pivot`, rows of the tile's columns, off the tile.
fn subtract(tile: &mut [Column; TILE], rows: &[Column], pivot: &[Column]) {
    let mut sums = *tile;
    for (x, y) in rows.iter().zip(pivot) {
        for column in 0..TILE {
            let factor = -y[column];
            for row in 0..TILE {
                sums[column][row] += factor * x[row];
            }
        }
    }
    *tile = sums;
}

/// Factors a tile on the diagonal.
fn factor(tile: &mut [Column; TILE]) -> Option<()> {
    for column in 0..TILE {
        for before in 0..column {
            let factor = -tile[before][column];
            let [known, open] = tile.get_disjoint_mut([before, column]).ok()?;
            let rows = open.iter_mut().zip(known).skip(column);
            rows.for_each(|(x, known)| *x += factor * *known);
        }
        let pivot = tile[column][column];
        if pivot.is_nan() || pivot <= 0.0 {
            return None;
        }
        let root = pivot.sqrt();
        tile[column][column] = root;
        tile[column][column + 1..]
            .iter_mut()
            .for_each(|x| *x /= root);
    }
    Some(())
}

/// Solves for a tile below the `diagonal` tile.
fn solve(tile: &mut [Column; TILE], diagonal: &[Column; TILE]) {
    for column in 0..TILE {
        for before in 0..column {
            let factor = -diagonal[before][column];
            let known = tile[before];
            let rows = tile[column].iter_mut().zip(known);
            rows.for_each(|(x, known)| *x += factor * known);
        }
        let root = diagonal[column][column];
        tile[column].iter_mut().for_each(|x| *x /= root);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Products of rows of waves, and something on the diagonal.
    fn matrix(k: usize) -> impl Fn(usize, usize) -> f64 {
        let wave = |i: usize, at: usize| ((i * 7 + at * 13) as f64).sin();
        move |i, j| {
            let common = (0..k.min(6))
                .map(|at| wave(i, at) * wave(j, at))
                .sum::<f64>();
            common + if i == j { 0.01 } else { 0.0 }
        }
    }

    #[test]
    fn the_factor_is_that_of_the_plain_algorithm_bit_for_bit() {
        for k in [1, 3, 4, 5, 8, 17, 40] {
            let element = matrix(k);
            let factor = Factor::new(k, &element).unwrap();
            let mut plain = vec![vec![0.0f64; k]; k];
            for j in 0..k {
                for i in j..k {
                    let start = element(i, j);
                    let sum = (0..j).fold(start, |sum, at| sum + -plain[j][at] * plain[i][at]);
                    plain[i][j] = match i == j {
                        true => sum.sqrt(),
                        false => sum / plain[j][j],
                    };
                    assert_eq!(factor.at(i, j), plain[i][j], "{k}: {i}, {j}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_positive_definite_has_no_factor() {
        assert!(Factor::new(3, |_, _| 1.0).is_none());
        assert!(
            Factor::new(5, |i, j| if i == 4 && j == 4 {
                -1.0
            } else {
                f64::from(u8::from(i == j))
            })
            .is_none()
        );
        assert!(Factor::new(2, |_, _| f64::NAN).is_none());
        assert!(Factor::new(0, |_, _| 1.0).is_some());
    }
}
