//! The page that shows [`Overview`]s in a browser: one self-contained HTML file, live or as a report.
//!
//! The browser draws everything from one JSON document. What packets brought is only ever set as text of an element,
//! never as markup, and the content security policy names the digests of the page's own style and script, so nothing
//! else runs or is loaded even if that failed.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Overview;

const SKELETON: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = concat!(include_str!("page/plot.js"), include_str!("page/page.js"));

/// What a browser may do with the page, as the value of the header `Content-Security-Policy`.
pub static CONTENT_SECURITY_POLICY: LazyLock<String> = LazyLock::new(|| {
    let digest = |text: &str| STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        digest(STYLE),
        digest(SCRIPT)
    )
});

/// The page that asks the daemon for `overview.json` again and again.
pub fn live_page() -> &'static str {
    static PAGE: LazyLock<String> = LazyLock::new(|| page(""));
    &PAGE
}

/// A report of replays: the same page with its data inside.
pub fn report_page(captures: &[Overview]) -> String {
    page(&inert(
        &json!({ "live": false, "captures": captures }).to_string(),
    ))
}

fn page(data: &str) -> String {
    // Of a file, the policy can only be in the file. There it may not say who frames the page.
    let policy = CONTENT_SECURITY_POLICY.replace("; frame-ancestors 'none'", "");
    [
        ("POLICY", policy.as_str()),
        ("STYLE", STYLE),
        ("SCRIPT", SCRIPT),
        ("DATA", data),
    ]
    .into_iter()
    .fold(SKELETON.to_owned(), |page, (name, text)| {
        page.replacen(&format!("@{name}@"), text, 1)
    })
}

/// JSON in which nothing looks like markup: it cannot end the element that it stands in.
fn inert(json: &str) -> String {
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overview::Host;

    #[test]
    fn pages_are_whole_and_load_nothing() {
        for page in [live_page().to_owned(), report_page(&[])] {
            assert!(page.starts_with("<!doctype html>"), "{page}");
            for name in ["@POLICY@", "@STYLE@", "@SCRIPT@", "@DATA@"] {
                assert!(!page.contains(name), "{name}");
            }
            for address in ["http:", "https:", "src=", "@import", "url("] {
                let outside = page.replace("http://www.w3.org/2000/svg", "");
                assert!(!outside.contains(address), "{address}");
            }
        }
    }

    #[test]
    fn the_script_makes_no_markup_of_text() {
        for danger in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "Function(",
        ] {
            assert!(!SCRIPT.contains(danger), "{danger}");
        }
        assert!(!SKELETON.contains(" style="), "the policy forbids it");
    }

    #[test]
    fn data_cannot_end_its_element() {
        let evil = "</script><script>alert(1)</script><!--&lt;@SCRIPT@";
        let overview = Overview {
            hosts: vec![Host {
                clients: vec![evil.to_owned()],
                ..Host::default()
            }],
            ..Overview::default()
        };
        let page = report_page(&[overview]);
        assert!(
            !page.contains("alert(1)</script>") && !page.contains("<script>alert"),
            "{page}"
        );
        let data = page.split_once("id=\"data\">").unwrap().1;
        let data: serde_json::Value = serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap();
        assert_eq!(data["captures"][0]["hosts"][0]["clients"][0], evil);
    }

    #[test]
    fn the_policy_names_the_digests_of_what_is_in_the_page() {
        let page = live_page();
        let between = |from: &str, to: &str| {
            let rest = page.split_once(from).unwrap().1;
            rest.split_once(to).unwrap().0.to_owned()
        };
        for text in [between("<style>", "</style>"), between("<script>", "</script>")] {
            let digest = STANDARD.encode(Sha256::digest(&text));
            assert!(CONTENT_SECURITY_POLICY.contains(&digest), "{digest}");
        }
    }
}
