//! Templates that a stream names: sent once and kept (K16). When a stream has named as many as are kept
//! for it, all are forgotten: a launch that names a forgotten one is refused as `unknown_template`, and
//! the framework sends it again.

use crate::limits;
use crate::master::Master;
use proffer_types::template::PodTemplate;
use proffer_types::{FrameworkId, Refusal, RefusalCode, TemplateDigest};
use std::sync::Arc;

impl Master {
    pub(crate) fn template(
        &mut self,
        framework: FrameworkId,
        digest: TemplateDigest,
        template: PodTemplate,
    ) {
        match self.check(|master| master.check_template(framework, digest, &template)) {
            Err(refusal) => self.refuse_call(framework, "template", refusal),
            Ok(None) => {}
            Ok(Some(bytes)) => {
                if let Some(stream) =
                    self.frameworks.get_mut(framework).and_then(|entry| entry.stream.as_mut())
                {
                    let is_full = stream.templates.len() >= limits::TEMPLATES_MAX
                        || stream.template_bytes + bytes > limits::TEMPLATES_BYTES_MAX;
                    if is_full {
                        stream.templates.clear();
                        stream.template_bytes = 0;
                    }
                    stream.templates.insert(digest, Arc::new(template));
                    stream.template_bytes += bytes;
                }
            }
        }
    }

    /// Its size, or `None` when it is known already.
    fn check_template(
        &self,
        framework: FrameworkId,
        digest: TemplateDigest,
        template: &PodTemplate,
    ) -> Result<Option<usize>, Refusal> {
        let Some(stream) = self.frameworks.get(framework).and_then(|entry| entry.stream.as_ref())
        else {
            return Ok(None);
        };
        if stream.templates.contains_key(&digest) {
            return Ok(None);
        }
        template.validate().map_err(|refusal| refusal.within("template"))?;
        let found = template.digest();
        if found != digest {
            return Err(Refusal::new(
                RefusalCode::InvalidArgument,
                "digest",
                format!("the template's digest is {found:?}, not {digest:?}"),
            ));
        }
        let bytes = serde_json::to_vec(template).map_or(usize::MAX, |text| text.len());
        if bytes > limits::TEMPLATE_BYTES_MAX {
            return Err(Refusal::new(
                RefusalCode::BudgetExceeded,
                "template",
                format!("is larger than {} bytes", limits::TEMPLATE_BYTES_MAX),
            ));
        }
        Ok(Some(bytes))
    }
}
