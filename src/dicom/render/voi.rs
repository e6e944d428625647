//! What of the modality's values is of interest, as levels of grey (PS3.3 §C.11.2).

use super::lut::Table;

/// A window, in the modality's units. Width: above 0, and 1 or more where it is linear.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    center: f64,
    width: f64,
    function: Function,
}

/// How values within a window become levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// PS3.3 §C.11.2.1.2.1
    Linear,
    /// PS3.3 §C.11.2.1.3.2
    LinearExact,
    /// PS3.3 §C.11.2.1.3.1
    Sigmoid,
}

impl Window {
    /// `None` for one that cannot be.
    #[must_use]
    pub fn new(center: f64, width: f64, function: Function) -> Option<Self> {
        let least = match function {
            Function::Linear => width >= 1.0,
            Function::LinearExact | Function::Sigmoid => width > 0.0,
        };
        (center.is_finite() && width.is_finite() && least).then_some(Self { center, width, function })
    }

    /// What an instance says. A linear one less than 1 wide, which real files have, is taken as exact.
    pub(super) fn of_instance(center: f64, width: f64, function: Function) -> Option<Self> {
        Self::new(center, width, function).or_else(|| Self::new(center, width, Function::LinearExact))
    }

    fn level(&self, x: f64) -> f64 {
        let Self { center, width, function } = *self;
        match function {
            Function::Linear => {
                let (center, width) = (center - 0.5, width - 1.0);
                if x <= center - width / 2.0 {
                    0.0
                } else if x > center + width / 2.0 {
                    1.0
                } else {
                    (x - center) / width + 0.5
                }
            }
            Function::LinearExact => {
                if x <= center - width / 2.0 {
                    0.0
                } else if x > center + width / 2.0 {
                    1.0
                } else {
                    (x - center) / width + 0.5
                }
            }
            Function::Sigmoid => 1.0 / (1.0 + (-4.0 * (x - center) / width).exp()),
        }
    }
}

/// What is of interest.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Voi {
    Window(Window),
    Table(Table),
    /// All that the frame has.
    Range,
}

/// From the modality's values to levels.
pub(super) enum Level<'a> {
    Window(Window),
    Table(&'a Table),
    Range(f64, f64),
}

impl Voi {
    /// `range` finds least and greatest value of the frame.
    pub(super) fn level(&self, range: impl FnOnce() -> (f64, f64)) -> Level<'_> {
        match self {
            Self::Window(window) => Level::Window(*window),
            Self::Table(table) => Level::Table(table),
            Self::Range => {
                let (least, greatest) = range();
                Level::Range(least, greatest)
            }
        }
    }
}

impl Level<'_> {
    /// 0 to 255.
    pub(super) fn of(&self, x: f64) -> u8 {
        match self {
            Self::Window(window) => in_255(window.level(x)),
            Self::Table(table) => {
                // Beyond the numbers of a table its first or last entry holds.
                let entry = table.at((x + 0.5).floor() as i64);
                in_255(f64::from(entry) / f64::from(table.greatest()))
            }
            // Values of one size have no contrast.
            Self::Range(least, greatest) if least >= greatest => 0,
            Self::Range(least, greatest) => in_255((x - least) / (greatest - least)),
        }
    }
}

/// A part of 1 as a part of 255, the nearest one. What is no number is 0.
pub(super) fn in_255(part: f64) -> u8 {
    (part * 255.0 + 0.5).floor() as u8
}
