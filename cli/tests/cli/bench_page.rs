//! The page of `attn bench --report` in a real browser: laid out whole, in light and dark, without a network, and no name of a model runs.

use crate::bench::hostile_page;
use attn_lab::browser::{Scheme, document};
use attn_test_support::folder::Folder;
use serde_json::Value;

/// Looks at the page once it is laid out, and leaves what it found in the title.
const LOOK: &str = r#"<script>
const found = {title: document.title, problems: [], plots: 0, bars: 0};
const problem = text => found.problems.push(text);
const light = color => {
  const [r, g, b] = color.match(/[\d.]+/g).map(Number);
  return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255;
};
const style = getComputedStyle(document.body);
found.back = light(style.backgroundColor);
found.contrast = Math.abs(light(style.color) - found.back);
if (document.documentElement.scrollWidth > innerWidth) problem('wider than the window');
for (const svg of document.querySelectorAll('svg')) {
  const box = svg.getBoundingClientRect();
  found.plots++;
  if (box.width < 100 || box.height < 20) problem('a plot has no size');
  for (const part of svg.querySelectorAll('text, rect, polyline')) {
    const {left, right, top, bottom} = part.getBoundingClientRect();
    if (left < box.left - 1 || right > box.right + 1 || top < box.top - 1 || bottom > box.bottom + 1)
      problem(`outside of its plot: ${part.outerHTML.slice(0, 200)}`);
    const color = getComputedStyle(part);
    if (part.tagName === 'text' && Math.abs(light(color.fill) - found.back) < 0.4) problem('text that is not to be read');
    if (part.tagName === 'rect') {
      found.bars++;
      if (Math.abs(light(color.fill) - found.back) < 0.1) problem('a bar that is not to be seen');
    }
  }
}
for (const cell of document.querySelectorAll('td, th')) {
  const box = cell.closest('.scroll').getBoundingClientRect();
  if (cell.getBoundingClientRect().left < box.left - 1) problem('a cell is cut off');
}
found.fetched = performance.getEntriesByType('resource').length;
found.elements = document.querySelectorAll('script, b, iframe, img').length;
document.title = JSON.stringify(found);
</script>"#;

#[test]
#[ignore = "takes long: a browser"]
fn a_browser_shows_the_page_whole_in_light_and_dark() {
    let folder = Folder::new();
    let page = hostile_page(&folder);
    let looked = page.replace("</body>", &format!("{LOOK}</body>"));
    let path = folder.write("looked.html", looked.as_bytes());
    for (scheme, width) in [
        (Scheme::Light, 1100),
        (Scheme::Dark, 1100),
        (Scheme::Light, 500),
    ] {
        let found = document(path.as_ref(), scheme, width).unwrap();
        let title = found.split("<title>").nth(1).unwrap();
        let title = title.split("</title>").next().unwrap();
        let title = title
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&");
        let found: Value = serde_json::from_str(&title).unwrap_or_else(|_| panic!("{title}"));
        let what = format!("{scheme:?}, {width} pixels: {found}");
        assert_eq!(found["problems"], Value::Array(vec![]), "{what}");
        // Its own script, and nothing that a name brought with it.
        assert_eq!(found["elements"], 1, "{what}");
        assert_eq!(found["fetched"], 0, "{what}");
        assert!(
            found["title"].as_str().unwrap().contains("on a Cortex-M4"),
            "{what}"
        );
        assert!(
            found["plots"].as_u64() >= Some(3) && found["bars"].as_u64() > Some(30),
            "{what}"
        );
        let back = found["back"].as_f64().unwrap();
        assert!((back > 0.5) == (scheme == Scheme::Light), "{what}");
        assert!(found["contrast"].as_f64() > Some(0.5), "{what}");
    }
}
