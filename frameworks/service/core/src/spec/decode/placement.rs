//! `placement`.

use crate::spec::fields;
use crate::spec::model::{MaxPerSpec, PlacementSpec, SpreadBy, SpreadSpec};
use crate::spec::reader::{Faults, Reader, list_of};
use crate::spec::{Diagnostic, expression};

pub(super) fn placement(service: &Reader<'_>, faults: &mut Faults) -> PlacementSpec {
    let path = service.path("placement");
    let mut spec = PlacementSpec {
        spread: vec![SpreadSpec { by: SpreadBy::Host }],
        ..PlacementSpec::default()
    };
    let Some(reader) = service
        .node("placement")
        .and_then(|node| Reader::open(node, &path, &fields::PLACEMENT, faults))
    else {
        return spec;
    };
    spec.require = require(&reader, faults);
    if let Some(spread) = spread(&reader, faults) {
        spec.spread = spread;
    }
    let path = reader.path("max_per");
    if let Some(max_per) =
        reader.node("max_per").and_then(|node| Reader::open(node, &path, &fields::MAX_PER, faults))
    {
        spec.max_per = MaxPerSpec { host: max_per.count_32("host", 1..=u32::MAX, faults) };
    }
    spec
}

fn require(reader: &Reader<'_>, faults: &mut Faults) -> Vec<String> {
    let expressions = reader.texts("require", faults).unwrap_or_default();
    for (index, text) in expressions.iter().enumerate() {
        if let Err(refusal) = expression::parse(text) {
            let path = reader.path(&format!("require[{index}]"));
            let mut fault = Diagnostic::new(path, reader.mark_of("require"), refusal.message);
            fault.code = refusal.code;
            faults.push(fault.hint(refusal.hint));
        }
    }
    expressions
}

fn spread(reader: &Reader<'_>, faults: &mut Faults) -> Option<Vec<SpreadSpec>> {
    let path = reader.path("spread");
    let items = list_of(reader.node("spread")?, &path, faults)?;
    let rules = items.iter().enumerate().filter_map(|(index, item)| {
        let rule = Reader::open(item, &format!("{path}[{index}]"), &fields::SPREAD, faults)?;
        rule.required("by", faults)?;
        let by = rule.word("by", SpreadBy::WORDS, &["zone", "region", "rack"], faults)?;
        Some(SpreadSpec { by })
    });
    Some(rules.collect())
}
