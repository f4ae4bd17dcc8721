//! Paths into JSON: names and numbers of elements, as an array of TEXT or as PostgreSQL spells one, `{a,0,"b c"}`.

use crate::plan::checked::array_items;

/// The texts of an array that is spelled out.
pub fn spelled(text: &str) -> Result<Vec<Option<String>>, String> {
    array_items(text, false).map_err(|why| format!("'{text}' is no array of texts, as '{{a,0}}' is: {why}"))
}

/// The place of an element that a number says, counted from the end where it is negative.
pub fn place(index: i64, elements: usize) -> Option<usize> {
    let elements_before = match index < 0 {
        true => i64::try_from(elements).ok()?.checked_add(index)?,
        false => index,
    };
    usize::try_from(elements_before).ok().filter(|place| *place < elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_texts_are_read() {
        let read = |text: &str| {
            spelled(text).map(|found| {
                found
                    .into_iter()
                    .map(|text| text.unwrap_or("-".into()))
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(read("{a, 0,\"b ,\\\"c\" ,NULL}").unwrap(), ["a", "0", "b ,\"c", "-"]);
        assert_eq!(read("{}").unwrap(), Vec::<String>::new());
        for bad in ["a", "{a,}", "{\"a}", "{a}b", "{{a}}", "{\"a\"b}"] {
            assert!(spelled(bad).is_err(), "{bad}");
        }
        assert_eq!(
            [place(0, 2), place(-2, 2), place(2, 2), place(-3, 2)],
            [Some(0), Some(0), None, None]
        );
    }
}
