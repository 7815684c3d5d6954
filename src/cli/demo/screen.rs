//! The terminal of the live chart, and the keys pressed in it.

use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use super::chart;
use super::view::View;
use crate::cli::exit::Failure;
use crate::cli::output::stdout_is_lively;

/// The terminal, in its alternate screen; given back when this is dropped.
pub(super) struct Screen {
    terminal: DefaultTerminal,
    colour: bool,
}

/// What a person wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// `q`: end it.
    Quit,
    /// Ctrl-C.
    Interrupt,
}

impl Screen {
    /// Takes the terminal over.
    pub(super) fn open() -> Result<Self, Failure> {
        let terminal = ratatui::try_init()
            .map_err(|error| Failure::failed(format!("cannot draw on this terminal: {error}; try --headless")))?;
        Ok(Self { terminal, colour: stdout_is_lively() })
    }

    /// Draws `view`.
    pub(super) fn draw(&mut self, view: &View<'_>) -> Result<(), Failure> {
        self.terminal.draw(|frame| chart::draw(frame, view, self.colour))?;
        Ok(())
    }

    /// The wish among the keys pressed since the last call, if there was one. Does not wait.
    pub(super) fn wish(&self) -> Result<Option<Wish>, Failure> {
        while event::poll(Duration::ZERO)? {
            let Event::Key(key) = event::read()? else { continue };
            if key.kind != KeyEventKind::Press {
                continue;
            }
            match key.code {
                KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                    return Ok(Some(Wish::Interrupt));
                }
                KeyCode::Char('q' | 'Q') | KeyCode::Esc => return Ok(Some(Wish::Quit)),
                _ => {}
            }
        }
        Ok(None)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}
