//! Why the SQL surface gave no answer, as a person can act upon it.

use crate::store::{Error, pool};

/// Why a view or a function gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum SurfaceError {
    /// The database is away, or not for us.
    #[error(transparent)]
    Store(#[from] Error),
    /// The role may see no namespace.
    #[error(
        "the role {role} has been granted no namespace. An administrator of the database grants one: \
         SELECT everstep.grant_namespace('{role}', 'NAMESPACE')"
    )]
    NoGrant {
        /// Whom the database takes us for.
        role: String,
    },
    /// A function refused, and said why.
    #[error("{message}{}", hint.as_ref().map_or_else(String::new, |hint| format!(". {hint}")))]
    Said {
        /// The SQLSTATE: `docs/sql.md` lists them.
        code: String,
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
}

impl SurfaceError {
    /// Whether the same may work in a moment.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Store(Error::Unavailable(_)))
    }

    pub(super) fn said(error: sqlx::Error) -> Self {
        // The codes that the functions of the surface raise; whatever else fails is not about the arguments.
        const OURS: [&str; 7] = ["22004", "22023", "54000", "42501", "P0002", "55000", "42704"];
        match pool::code(&error) {
            Some(code) if OURS.contains(&&*code) => {
                let said = error.as_database_error();
                let said = said.and_then(|error| error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>());
                Self::Said {
                    code,
                    message: said.map_or_else(|| error.to_string(), |said| said.message().to_owned()),
                    hint: said.and_then(|said| said.hint()).map(str::to_owned),
                }
            }
            _ => Error::of_statement(error).into(),
        }
    }
}
