//! Reading JSON as the API server does: `null` is the same as absent.

use serde::{Deserialize, Deserializer};

/// Reads `null` as the type's default value.
pub(super) fn null_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
