// SPDX-License-Identifier: MIT OR Apache-2.0
//! A picture of the ratios: `cargo lab bench | tee FILE`, then
//! `cargo run --example on_xen plot < FILE > docs/bench.svg`.

use std::io::BufRead;

/// Before a name and a ratio, with tabs between: a line for the picture.
const MARK: &str = "ratio";

/// For [`draw`]: `name` took so many times as long as with Xen's libraries.
pub(crate) fn note(name: &str, ratio: f64) {
    println!("{MARK}\t{name}\t{ratio:.3}");
}

/// Pixels: of a row, and where bars can begin and end.
const ROW: u32 = 22;
const BEGIN: f64 = 230.0;
const END: f64 = 680.0;
/// What the scale reaches from and to, in powers of ten.
const SCALE: (f64, f64) = (-2.2, 1.1);

fn place(ratio: f64) -> f64 {
    let part = (ratio.log10() - SCALE.0) / (SCALE.1 - SCALE.0);
    BEGIN + part.clamp(0.0, 1.0) * (END - BEGIN)
}

/// Bars to the left of the line are faster than Xen's libraries.
pub(crate) fn draw(lines: impl BufRead) {
    let rows: Vec<(String, f64)> = lines
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| {
            let (_, rest) = line.split_once(&format!("{MARK}\t"))?;
            let (name, ratio) = rest.split_once('\t')?;
            Some((name.to_owned(), ratio.trim().parse().ok()?))
        })
        .collect();
    let height = ROW * (u32::try_from(rows.len()).unwrap_or(0) + 2);
    println!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"760\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"8\" y=\"15\">time of one, Xen's libraries = 1 (logarithmic)</text>"
    );
    let one = place(1.0);
    for (at, (name, ratio)) in (1..).zip(&rows) {
        let (top, end) = (ROW * at, place(*ratio));
        let (left, width) = (end.min(one), (end - one).abs());
        let colour = if *ratio <= 1.05 { "#2a7f62" } else { "#b5562b" };
        println!(
            "<text x=\"8\" y=\"{}\">{name}</text>\
             <rect x=\"{left:.0}\" y=\"{}\" width=\"{width:.0}\" height=\"14\" fill=\"{colour}\"/>\
             <text x=\"{:.0}\" y=\"{}\">{ratio:.2}</text>",
            top + 15,
            top + 4,
            end.max(one) + 6.0,
            top + 15
        );
    }
    println!(
        "<line x1=\"{one:.0}\" x2=\"{one:.0}\" y1=\"{ROW}\" y2=\"{height}\" stroke=\"#333\"/>\n</svg>"
    );
}
