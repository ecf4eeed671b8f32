//! How a checked conversion names the field at fault.

use proffer_types::{Refusal, RefusalCode};
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

/// A refusal of one field's value.
pub(crate) fn invalid(field: &str, message: impl Into<String>) -> Refusal {
    Refusal::new(RefusalCode::InvalidArgument, field, message)
}

/// A field that must be there.
pub(crate) fn required<T>(value: Option<T>, field: &str) -> Result<T, Refusal> {
    value.ok_or_else(|| invalid(field, "is not set"))
}

/// A part that must be there and convert; what is wrong in it lies below `field`.
pub(crate) fn part<P, D>(value: Option<P>, field: &str) -> Result<D, Refusal>
where
    D: TryFrom<P, Error = Refusal>,
{
    D::try_from(required(value, field)?).map_err(|refusal| refusal.within(field))
}

/// A part that may be absent.
pub(crate) fn optional<P, D>(value: Option<P>, field: &str) -> Result<Option<D>, Refusal>
where
    D: TryFrom<P, Error = Refusal>,
{
    value.map(D::try_from).transpose().map_err(|refusal| refusal.within(field))
}

/// A list of at most `max` parts; what is wrong in one lies below `field[index]`.
pub(crate) fn list<P, D>(values: Vec<P>, field: &str, max: usize) -> Result<Vec<D>, Refusal>
where
    D: TryFrom<P, Error = Refusal>,
{
    bounded(values.len(), field, max)?;
    let mut list = Vec::with_capacity(values.len());
    for (index, value) in values.into_iter().enumerate() {
        list.push(D::try_from(value).map_err(|refusal| refusal.within(item(field, index)))?);
    }
    Ok(list)
}

/// What a frame carries: parts of a kind that this version does not know are skipped (K5); what is
/// wrong in another lies below `field[index]`.
pub(crate) fn known<P, K, D>(
    values: Vec<P>,
    field: &str,
    kind: impl Fn(P) -> Option<K>,
    read: impl Fn(K) -> Result<D, Refusal>,
) -> Result<Vec<D>, Refusal> {
    let known = values.into_iter().map(kind).enumerate();
    known
        .filter_map(|(index, kind)| Some((index, kind?)))
        .map(|(index, kind)| read(kind).map_err(|refusal| refusal.within(item(field, index))))
        .collect()
}

/// A list must not be longer than `max`.
pub(crate) fn bounded(count: usize, field: &str, max: usize) -> Result<(), Refusal> {
    if count > max {
        return Err(invalid(field, format!("has {count} entries, more than {max}")));
    }
    Ok(())
}

/// Path of one item of a list.
pub(crate) fn item(field: &str, index: usize) -> String {
    format!("{field}[{index}]")
}

/// An id or name given as text.
pub(crate) fn name<N: FromStr<Err = Refusal>>(text: &str, field: &str) -> Result<N, Refusal> {
    text.parse().map_err(|refusal: Refusal| Refusal { field: field.to_owned(), ..refusal })
}

/// An id or name that may be absent.
pub(crate) fn optional_name<N>(text: Option<&str>, field: &str) -> Result<Option<N>, Refusal>
where
    N: FromStr<Err = Refusal>,
{
    text.map(|text| name(text, field)).transpose()
}

/// At most `max` ids or names, in their order.
pub(crate) fn names<N, C>(texts: &[String], field: &str, max: usize) -> Result<C, Refusal>
where
    N: FromStr<Err = Refusal>,
    C: FromIterator<N>,
{
    bounded(texts.len(), field, max)?;
    texts.iter().enumerate().map(|(index, text)| name(text, &item(field, index))).collect()
}

/// Labels, variables and the like.
pub(crate) fn labels(
    map: BTreeMap<String, String>,
    field: &str,
) -> Result<BTreeMap<String, String>, Refusal> {
    bounded(map.len(), field, super::bounds::ENTRIES_MAX)?;
    Ok(map)
}

/// Numbers of which each counts once.
pub(crate) fn numbers(list: Vec<u64>, field: &str, max: usize) -> Result<BTreeSet<u64>, Refusal> {
    bounded(list.len(), field, max)?;
    Ok(list.into_iter().collect())
}

/// Lets a conversion by value be used by reference.
macro_rules! from_ref {
    ($($domain:ty => $pb:ty),+ $(,)?) => {
        $(impl From<&$domain> for $pb {
            fn from(domain: &$domain) -> Self {
                domain.clone().into()
            }
        })+
    };
}
pub(crate) use from_ref;
