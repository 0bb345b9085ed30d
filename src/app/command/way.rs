//! Whom a command speaks to, where both could do it: the API server with an object, or PostgreSQL with a function. Pure.

use uuid::Uuid;

use super::{super::Failure, target::Target};
use crate::cli::people::{Reach, Via};

/// A run's id is only known to PostgreSQL; a database on the command line is meant; else objects are.
pub(super) fn way(reach: &Reach, target: Option<&Target>) -> Result<Via, Failure> {
    let by_id = matches!(target, Some(Target::Id(_)));
    match reach.via {
        Some(Via::Object) if by_id => Err(Failure::Configuration(
            "a run is named to the API server by its object: say erun/NAME or ewf/NAME, or leave --via object out"
                .to_owned(),
        )),
        Some(via) => Ok(via),
        None if by_id || reach.place.database.typed => Ok(Via::Sql),
        None => Ok(Via::Object),
    }
}

/// What the API server cannot be asked for. [`way`] sends ids elsewhere.
pub(super) fn no_object_of(run: Uuid) -> Failure {
    Failure::Configuration(format!("run {run} is known to PostgreSQL only: --via sql"))
}

/// A flag that the chosen way has no place for.
pub(super) fn without(flag: &str, is_given: bool, why: &str) -> Result<(), Failure> {
    if is_given {
        Err(Failure::Configuration(format!("{flag}: {why}")))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{
        Database,
        people::{Cluster, Place},
    };

    #[test]
    fn what_is_said_counts_then_what_is_known_then_objects() {
        let id = Target::Id(Uuid::nil());
        let name = Target::Name("a".to_owned());
        let of = |via, typed, target: &Target| {
            let database = Database {
                database_url: Some(String::new()),
                database_url_file: None,
                typed,
            };
            let cluster = Cluster {
                namespace: None,
                kubeconfig: None,
                context: None,
            };
            let place = Place { cluster, database };
            way(&Reach { via, place }, Some(target)).ok()
        };
        assert_eq!(of(None, false, &name), Some(Via::Object));
        assert_eq!(of(None, true, &name), Some(Via::Sql));
        assert_eq!(of(None, false, &id), Some(Via::Sql));
        assert_eq!(of(Some(Via::Object), true, &name), Some(Via::Object));
        assert_eq!(of(Some(Via::Sql), false, &name), Some(Via::Sql));
        assert_eq!(of(Some(Via::Object), false, &id), None);
    }
}
