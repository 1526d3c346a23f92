//! Heads of an attention: rows of weights with the same keys and values.

use super::dots::Dots;
use super::scores::Scores;
use super::weighing::Weighing;

/// A head: keys, values, and the rows of weights that weigh them.
pub struct Head {
    /// Numbers of the keys among the vectors of their side; `None` where no query sees it.
    keys: Vec<Option<u32>>,
    /// For each channel the number of its vector of values.
    columns: Vec<u32>,
    /// For each key the place of its value in those vectors.
    order: Vec<u32>,
    /// Numbers of the uses.
    pub uses: Vec<usize>,
}

/// All heads, and which side of the scores has the queries.
pub struct Heads {
    /// In the order in which the product has them.
    pub heads: Vec<Head>,
    /// Side of the queries.
    pub side: usize,
    /// For each use the number of its query.
    pub queries: Vec<u32>,
}

impl Heads {
    /// Finds the heads of a product of weights and values whose scores are these dot products.
    pub fn of(weighing: &Weighing, scores: &Scores, dots: &Dots, hidden: &[bool]) -> Option<Self> {
        let pair = |at: usize| {
            let seen = !hidden[at];
            seen.then(|| dots.of[scores.place[at] as usize])
        };
        let pairs = |row: usize| (row * scores.width..(row + 1) * scores.width).map(pair);
        // The side that is the same for a whole row has the queries.
        let query = |side: usize, row: usize| {
            let mut seen = pairs(row).flatten().map(|pair| pair[side]);
            let first = seen.next()?;
            seen.all(|other| other == first).then_some(first)
        };
        let queries = |side: usize| {
            let rows = weighing.uses.iter().map(|used| query(side, used.row));
            rows.collect::<Option<Vec<u32>>>()
        };
        let (side, queries) = [0, 1]
            .into_iter()
            .find_map(|side| Some((side, queries(side)?)))?;
        let mut heads: Vec<Head> = Vec::new();
        for (number, used) in weighing.uses.iter().enumerate() {
            let keys: Vec<Option<u32>> =
                pairs(used.row).map(|pair| Some(pair?[1 - side])).collect();
            let mut fitting = heads.iter_mut();
            let fits = |head: &&mut Head| {
                let agree =
                    |(a, b): (&Option<u32>, &Option<u32>)| a.is_none() || b.is_none() || a == b;
                head.columns == used.columns
                    && head.order == used.order
                    && head.keys.iter().zip(&keys).all(agree)
            };
            match fitting.find(fits) {
                Some(head) => head.join(&keys, number),
                None => heads.push(Head {
                    keys,
                    columns: used.columns.clone(),
                    order: used.order.clone(),
                    uses: vec![number],
                }),
            }
        }
        let queries_each = heads.first()?.uses.len();
        let alike = heads.iter().all(|head| head.uses.len() == queries_each);
        alike.then_some(Self {
            heads,
            side,
            queries,
        })
    }

    /// Puts heads that share keys and values side by side; gives the number of those that do not share, if all are shared by as many.
    pub fn share(&mut self, weighing: &Weighing, dots: &Dots) -> usize {
        let side = 1 - self.side;
        let content = |head: &Head| [head.keys(dots, side), head.values(weighing)];
        let mut kinds: Vec<[Vec<u32>; 2]> = Vec::new();
        let mut kind = |head: &Head| {
            let content = content(head);
            let at = kinds.iter().position(|kind| *kind == content);
            at.unwrap_or_else(|| {
                kinds.push(content);
                kinds.len() - 1
            })
        };
        let of: Vec<usize> = self.heads.iter().map(&mut kind).collect();
        let shared = self.heads.len() / kinds.len().max(1);
        let alike =
            (0..kinds.len()).all(|kind| of.iter().filter(|&&k| k == kind).count() == shared);
        if !alike {
            return self.heads.len();
        }
        let mut heads: Vec<_> = of
            .into_iter()
            .zip(std::mem::take(&mut self.heads))
            .collect();
        heads.sort_by_key(|(kind, _)| *kind);
        self.heads = heads.into_iter().map(|(_, head)| head).collect();
        kinds.len()
    }
}

impl Head {
    fn join(&mut self, keys: &[Option<u32>], number: usize) {
        for (own, key) in self.keys.iter_mut().zip(keys) {
            *own = own.or(*key);
        }
        self.uses.push(number);
    }

    /// The places of its keys, one after the other.
    pub fn keys(&self, dots: &Dots, side: usize) -> Vec<u32> {
        let vectors = &dots.sides[side];
        let count = vectors.origin.position.len() / vectors.width.max(1);
        let known = self.keys.iter().position(Option::is_some).unwrap_or(0);
        let first = self.keys.get(known).copied().flatten().unwrap_or(0);
        // Any key will do where none is seen; the present one needs no move.
        let guess = |at: usize| {
            let near = (first as usize + at).checked_sub(known);
            near.filter(|&near| near < count)
                .map_or(first, |near| near as u32)
        };
        let key = |(at, key): (usize, &Option<u32>)| key.unwrap_or_else(|| guess(at));
        let keys = self.keys.iter().enumerate().map(key);
        keys.flat_map(|key| vectors.at(key)).copied().collect()
    }

    /// The places of its values, one after the other.
    pub fn values(&self, weighing: &Weighing) -> Vec<u32> {
        let value = |&at: &u32| {
            let channels = self.columns.iter();
            channels.map(move |&column| weighing.values.at(column)[at as usize])
        };
        self.order.iter().flat_map(value).collect()
    }
}
