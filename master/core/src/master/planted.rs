//! Panics for tests, to see what becomes of a call that meets one (K23).

use super::Master;

/// Where the next call panics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlantedPanic {
    /// While it is checked.
    InCheck,
    /// When it has been checked.
    InChange,
}

impl Master {
    /// The next call that is checked panics, once.
    pub fn plant(&mut self, panic: PlantedPanic) {
        self.planted = Some(panic);
    }

    pub(super) fn strike(&mut self, here: PlantedPanic) {
        if self.planted == Some(here) {
            self.planted = None;
            panic!("planted {here:?}");
        }
    }

    /// All that it knows, to be compared.
    #[must_use]
    pub fn state(&self) -> String {
        format!("{:?}", Self { checking: false, planted: None, ..self.clone() })
    }
}
