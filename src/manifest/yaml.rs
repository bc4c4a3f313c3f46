//! YAML text to documents, one at a time, resuming behind a document that does not parse.

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, StructureStyle};

use super::position::Style;
use super::scalar::{self, Tag};
use super::tree::{ALIAS_BUDGET, Builder, Fault, MAX_DEPTH, Tree};
use super::{MAX_PROBLEMS, Span};

/// Reads every document of `text`. A document is a tree, or the fault that ended it.
pub(super) fn read(text: &str) -> Vec<Result<Tree, Fault>> {
    let mut documents = Vec::new();
    let mut faults = 0_usize;
    let mut budget = ALIAS_BUDGET;
    let mut parser = Parser::new_from_str_with_options(text, options());
    loop {
        let Some(result) = document(text, &mut parser, &mut budget) else { return documents };
        let failed = result.is_err();
        match result {
            Ok(Some(tree)) => documents.push(Ok(tree)),
            Ok(None) => {}
            Err(fault) => documents.push(Err(fault)),
        }
        if failed {
            faults += 1;
            if faults >= MAX_PROBLEMS || !matches!(parser.proceed_next_document(), Ok(true)) {
                return documents;
            }
        }
    }
}

fn options() -> Options {
    let mut options = Options::default();
    options.emit_comments = false;
    // Of a depth that manifests never reach; the builder counts both kinds together.
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    // YAML allows a comment or a key of any length that kubectl reads; only nesting is a danger.
    options.simple_key_max_lookahead = 1024;
    options
}

/// The next document: `None` at the end of the stream, `Some(Ok(None))` for an empty one.
fn document<'t>(
    text: &'t str,
    parser: &mut Parser<'t, granit_parser::StrInput<'t>>,
    budget: &mut usize,
) -> Option<Result<Option<Tree>, Fault>> {
    let mut builder = Builder::new(budget);
    let mut nodes = 0_u32;
    let mut empty = true;
    loop {
        let (event, at) = match parser.next_event()? {
            Ok(event) => event,
            Err(error) => return Some(Err(fault(&error))),
        };
        let at = at.byte_range().map_or(Span { start: 0, end: 0 }, |range| Span { start: range.start, end: range.end });
        let step = match event {
            Event::DocumentEnd => return Some(Ok(if empty { None } else { builder.tree() })),
            Event::StreamEnd => return None,
            Event::Scalar(content, style, anchor, tag) => {
                // A document without content is one empty scalar.
                empty = nodes == 0 && at.start == at.end && anchor == 0 && tag.is_none();
                let plain = style == ScalarStyle::Plain;
                // The parser gives `~` for a missing value, which resolves to null like the empty text does.
                let tag = tag.as_deref();
                let merge = tag.is_none() && plain && content == "<<";
                let resolved = scalar::resolve(&content, plain, tag_of(tag));
                builder.scalar(resolved, at, style_of(style), anchor, merge)
            }
            Event::SequenceStart(style, anchor, _) => {
                empty = false;
                let flow = style == StructureStyle::Flow;
                let at = if flow || !builder.in_mapping() { at } else { from_dash(text, at) };
                builder.open(false, flow, at, anchor)
            }
            Event::MappingStart(style, anchor, _) => {
                empty = false;
                builder.open(true, style == StructureStyle::Flow, at, anchor)
            }
            Event::SequenceEnd | Event::MappingEnd => builder.close(at),
            Event::Alias(anchor) => {
                empty = false;
                builder.alias(anchor, at)
            }
            _ => continue,
        };
        nodes = nodes.saturating_add(1);
        if let Err(fault) = step {
            return Some(Err(fault));
        }
    }
}

/// The parser starts a sequence that is not indented more than its key behind the first dash; this includes the dash.
fn from_dash(text: &str, at: Span) -> Span {
    let before = text.get(..at.start).unwrap_or_default();
    let at_dash = text.get(at.start..).is_some_and(|rest| rest.starts_with('-'));
    let trimmed = if at_dash { before.trim_end_matches([' ', '\t']) } else { before.trim_end() };
    if trimmed.ends_with('-') { Span { start: trimmed.len() - 1, end: at.end } } else { at }
}

fn tag_of(tag: Option<&granit_parser::Tag>) -> Tag<'_> {
    let Some(tag) = tag else { return Tag::None };
    if tag.handle() == "tag:yaml.org,2002:" {
        return Tag::Core(tag.suffix());
    }
    tag.core_suffix().map_or(Tag::Other, Tag::Core)
}

fn style_of(style: ScalarStyle) -> Style {
    match style {
        ScalarStyle::Plain => Style::Plain,
        ScalarStyle::SingleQuoted => Style::SingleQuoted,
        ScalarStyle::DoubleQuoted => Style::DoubleQuoted,
        ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
    }
}

fn fault(error: &ScanError) -> Fault {
    let at = error.marker().byte_offset().unwrap_or(0);
    Fault::new(Span { start: at, end: at }, format!("this is not YAML: {}", error.info()))
}
