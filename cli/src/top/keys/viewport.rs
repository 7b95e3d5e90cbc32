//! The window on a list that is longer than the screen: which rows are visible, and which one is selected.

/// Places are counted from 0. `length` is that of the list.
#[derive(Clone, Copy, Debug, Default)]
pub struct Viewport {
    /// The selected row.
    pub place: usize,
    /// The first visible row.
    pub first: usize,
    /// Visible rows.
    pub rows: usize,
}

impl Viewport {
    /// Rows by which a page moves.
    pub fn page(&self) -> isize {
        self.rows.saturating_sub(1).max(1) as isize
    }

    /// The window has room for this number of rows.
    pub fn fit(&mut self, rows: usize, length: usize) {
        self.rows = rows;
        self.scroll(length);
    }

    /// Moves the selection; `isize::MIN` and `isize::MAX` move it to the ends.
    pub fn select(&mut self, by: isize, length: usize) {
        self.put(self.place.saturating_add_signed(by), length);
    }

    /// Selects a row, or the last one.
    pub fn put(&mut self, place: usize, length: usize) {
        self.place = place.min(length.saturating_sub(1));
        self.scroll(length);
    }

    fn scroll(&mut self, length: usize) {
        let last = length.saturating_sub(self.rows);
        let least = (self.place + 1).saturating_sub(self.rows.max(1));
        self.first = self.first.clamp(least, self.place.max(least)).min(last.max(least));
    }
}
