//! Paths into JSON: names and numbers of elements, as an array of TEXT or as PostgreSQL spells one, `{a,0,"b c"}`.

/// The texts of an array that is spelled out.
pub fn spelled(text: &str) -> Result<Vec<Option<String>>, String> {
    let wrong = |why: &str| format!("'{text}' is no array of texts, as '{{a,0}}' is: {why}");
    let inner = text.trim();
    let inner = inner.strip_prefix('{').and_then(|inner| inner.strip_suffix('}'));
    let inner = inner.ok_or_else(|| wrong("it stands in braces"))?;
    let mut found = Vec::new();
    if inner.trim().is_empty() {
        return Ok(found);
    }
    let mut rest = inner.chars().peekable();
    loop {
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        let mut element = String::new();
        if rest.next_if_eq(&'"').is_some() {
            loop {
                match rest.next() {
                    Some('"') => break,
                    Some('\\') => element.extend(rest.next()),
                    Some(c) => element.push(c),
                    None => return Err(wrong("a quote is never closed")),
                }
            }
            while rest.next_if(|c| c.is_whitespace()).is_some() {}
            found.push(Some(element));
        } else {
            while let Some(c) = rest.next_if(|c| *c != ',') {
                match c {
                    '{' | '}' | '"' => return Err(wrong("braces and quotes within a name stand in quotes")),
                    '\\' => element.extend(rest.next()),
                    c => element.push(c),
                }
            }
            match element.trim() {
                "" => return Err(wrong("a name is missing")),
                null if null.eq_ignore_ascii_case("null") => found.push(None),
                name => found.push(Some(name.to_string())),
            }
        }
        match rest.next() {
            None => return Ok(found),
            Some(',') => {}
            Some(_) => return Err(wrong("a comma is missing")),
        }
    }
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
