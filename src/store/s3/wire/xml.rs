//! XML, read element by element: a whole document of the expected name, or an error.

use quick_xml::{Reader, escape::resolve_predefined_entity, events::Event};

use super::super::trouble::{Kind, Trouble};

/// The end of an element below the root.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    /// 1 for the root's children.
    pub depth: usize,
    /// Without its namespace.
    pub name: &'a str,
    /// The text since the last tag: all of it, where the element has no children.
    pub text: &'a str,
}

/// Shows every element of a document, inner ones first.
///
/// # Errors
/// Anything but one whole document whose root has that name, as far as it was shown.
pub(super) fn read(
    xml: &[u8],
    root: &str,
    mut show: impl FnMut(Element<'_>) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let garbled =
        |why: &str| Trouble::new(Kind::Protocol, format!("the answer is not a whole {root}: {why}"));
    let xml = std::str::from_utf8(xml).map_err(|_| garbled("not UTF-8"))?;
    let mut reader = Reader::from_str(xml.trim_start_matches('\u{feff}'));
    reader.config_mut().expand_empty_elements = true;
    let (mut depth, mut text, mut closed) = (0, String::new(), false);
    loop {
        match reader.read_event().map_err(|e| garbled(&e.to_string()))? {
            Event::Start(tag) => {
                if closed || (depth == 0 && tag.local_name().as_ref() != root) {
                    return Err(garbled("another element"));
                }
                depth += 1;
                text.clear();
            }
            Event::End(tag) => {
                depth -= 1;
                closed = depth == 0;
                if !closed {
                    show(Element { depth, name: tag.local_name().as_ref(), text: &text })?;
                }
                text.clear();
            }
            Event::Text(more) => text.push_str(&more.xml10_content()),
            Event::CData(more) => text.push_str(&more.xml10_content()),
            Event::GeneralRef(name) => match name.resolve_char_ref() {
                Ok(Some(character)) => text.push(character),
                Ok(None) => {
                    text.push_str(
                        resolve_predefined_entity(&name).ok_or_else(|| garbled("an unknown entity"))?,
                    );
                }
                Err(e) => return Err(garbled(&e.to_string())),
            },
            Event::Eof if closed && text.trim().is_empty() => return Ok(()),
            Event::Eof => return Err(garbled("it breaks off")),
            Event::DocType(_) => return Err(garbled("another document")),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::Empty(_) => {}
        }
        if depth == 0 && !text.trim().is_empty() {
            return Err(garbled("text around it"));
        }
    }
}

/// An error as a store spells it.
#[derive(Debug, Default)]
pub(in super::super) struct Refusal {
    pub code: Option<String>,
    pub message: Option<String>,
    pub request_id: Option<String>,
}

/// What an answer's body says of a refusal: nothing, where it is not S3's XML.
pub(super) fn refusal(xml: &[u8]) -> Refusal {
    let mut refusal = Refusal::default();
    let read = read(xml, "Error", |element| {
        let place = match element.name {
            _ if element.depth > 1 => return Ok(()),
            "Code" => &mut refusal.code,
            "Message" => &mut refusal.message,
            "RequestId" => &mut refusal.request_id,
            _ => return Ok(()),
        };
        *place = Some(element.text.trim().to_owned()).filter(|text| !text.is_empty());
        Ok(())
    });
    if read.is_ok() { refusal } else { Refusal::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_the_store_said() {
        let said = refusal(
            b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Not &lt;you&gt;</Message>\
              <RequestId>17A</RequestId><Detail><Message/></Detail></Error>",
        );
        assert_eq!(said.code.as_deref(), Some("AccessDenied"));
        assert_eq!(said.message.as_deref(), Some("Not <you>"));
        assert_eq!(said.request_id.as_deref(), Some("17A"));
    }

    #[test]
    fn what_is_not_s3s_says_nothing() {
        for text in ["", "<html><Code>x</Code></html>", "502 Bad Gateway", "<Error><Code>Acc"] {
            assert!(refusal(text.as_bytes()).code.is_none(), "{text}");
        }
    }
}
