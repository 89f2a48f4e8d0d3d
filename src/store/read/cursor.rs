//! Where a page of a list begins: threads, hits, letters.

use crate::domain::refusal::Refusal;
use crate::domain::thread::fingerprint;

/// An opaque place in a page: the sort key of its last row, sealed with the query it belongs to.
pub(in crate::store) struct Cursor(Vec<String>);

impl Cursor {
    pub(in crate::store) fn write(query: &str, key: &[String]) -> String {
        let text = format!("{}\n{}", fingerprint("cursor", query), key.join("\n"));
        text.bytes().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(in crate::store) fn open(query: &str, cursor: Option<&str>) -> Result<Option<Self>, Refusal> {
        let Some(cursor) = cursor else { return Ok(None) };
        let wrong = || Refusal::invalid("--cursor is not one of this query").hint("begin again without --cursor");
        let bytes: Option<Vec<u8>> = (cursor.len().is_multiple_of(2) && cursor.is_ascii())
            .then(|| (0..cursor.len()).step_by(2).map(|at| u8::from_str_radix(&cursor[at..at + 2], 16).ok()).collect())
            .flatten();
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(wrong)?;
        let mut lines = text.split('\n').map(str::to_owned);
        if lines.next() != Some(fingerprint("cursor", query)) {
            return Err(wrong());
        }
        Ok(Some(Self(lines.collect())))
    }

    pub(in crate::store) fn number(&self) -> Result<i64, Refusal> {
        self.0.first().and_then(|text| text.parse().ok()).ok_or_else(|| Refusal::invalid("--cursor is damaged"))
    }

    pub(in crate::store) fn parts(self) -> Result<[String; 3], Refusal> {
        <[String; 3]>::try_from(self.0).map_err(|_| Refusal::invalid("--cursor is damaged"))
    }
}
