//! The tags of an object as S3 and Azure write them: a `TagSet` of keys and values in a root of their own.

use std::collections::BTreeMap;

use super::xml;

/// The tags in a document whose root has this name; why they cannot be read otherwise.
pub(crate) fn read(document: &[u8], root: &str) -> Result<BTreeMap<String, String>, String> {
    let (mut tags, mut name, mut value) = (BTreeMap::new(), None, None);
    xml::leaves(document, root, |_, element, text| {
        match element {
            "Key" => name = Some(text.to_owned()),
            "Value" => value = Some(text.to_owned()),
            _ => {}
        }
        // Whichever comes first.
        if name.is_some() && value.is_some() {
            tags.extend(name.take().zip(value.take()));
        }
        Ok(())
    })?;
    if name.is_some() || value.is_some() {
        return Err("a tag lacks its name or its value".to_owned());
    }
    Ok(tags)
}

/// Writes the tags into a document, below its root.
pub(crate) fn write<'a>(document: &mut String, tags: impl IntoIterator<Item = (&'a String, &'a String)>) {
    document.push_str("<TagSet>");
    for (name, value) in tags {
        document.push_str("<Tag>");
        xml::element(document, "Key", name);
        xml::element(document, "Value", value);
        document.push_str("</Tag>");
    }
    document.push_str("</TagSet>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for tags in [&[][..], &[("a", "1")], &[("", "é\r\n<&>"), ("b ", "")]] {
            let tags: BTreeMap<String, String> =
                tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let mut document = "<Tagging>".to_owned();
            write(&mut document, &tags);
            document.push_str("</Tagging>");
            assert_eq!(read(document.as_bytes(), "Tagging"), Ok(tags));
        }
    }

    #[test]
    fn documents_that_are_none_are_refused() {
        for wrong in ["", "<Tags/>", "<Tagging><TagSet><Tag><Value>1</Value></Tag></TagSet></Tagging>", "<Tagging>"] {
            assert!(read(wrong.as_bytes(), "Tagging").is_err(), "{wrong}");
        }
    }
}
