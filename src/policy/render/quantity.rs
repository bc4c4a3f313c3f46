//! Quantities as Kubernetes writes them back, so that what is applied and what is stored read the same.

use crate::policy::objects::Quantity;

/// Suffixes of the decimal form, with the number of billionths each stands for, largest first.
const SUFFIXES: [(&str, i128); 10] = [
    ("E", 1_000_000_000_000_000_000_000_000_000),
    ("P", 1_000_000_000_000_000_000_000_000),
    ("T", 1_000_000_000_000_000_000_000),
    ("G", 1_000_000_000_000_000_000),
    ("M", 1_000_000_000_000_000),
    ("k", 1_000_000_000_000),
    ("", 1_000_000_000),
    ("m", 1_000_000),
    ("u", 1_000),
    ("n", 1),
];

/// The canonical decimal form: no fraction, and the largest suffix that divides it (`0.8` becomes `800m`, `4.0` becomes
/// `4`). What is no quantity stays as it is.
pub(super) fn canonical(quantity: &Quantity) -> Quantity {
    let Ok(nanos) = quantity.nanos() else { return quantity.clone() };
    if nanos == 0 {
        return Quantity::new("0");
    }
    let fit = SUFFIXES.iter().find(|(_, size)| nanos % size == 0);
    fit.map_or_else(|| quantity.clone(), |(suffix, size)| Quantity::new(format!("{}{suffix}", nanos / size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_written_as_kubernetes_stores_them() {
        for (written, stored) in [
            ("4", "4"),
            ("4.0", "4"),
            ("0.8", "800m"),
            ("800m", "800m"),
            ("1000m", "1"),
            ("1500", "1500"),
            ("1000", "1k"),
            ("1e3", "1k"),
            ("0.0000015", "1500n"),
            ("0", "0"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(canonical(&Quantity::new(written)).text(), stored, "{written}");
        }
    }
}
