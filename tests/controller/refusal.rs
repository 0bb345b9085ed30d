//! A database that belongs to somebody else.

use everstep::controller::{Controller, Error};
use everstep::store;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Fixture, HELLO};

#[tokio::test]
async fn database_of_another_cluster_or_install_is_refused_with_both_ids_and_nothing_is_written() {
    let fixture = Fixture::new("refused").await;
    let ours = fixture.cluster().await;
    let table = [("somebody-elses", "default"), (&*ours, "other-install")];
    fixture.apply(HELLO).await;
    for (cluster, install) in table {
        fixture.execute("DELETE FROM everstep.cluster").await;
        fixture.store.adopt_cluster(cluster, install).await.unwrap();
        let ended = Controller::new(fixture.context()).run(CancellationToken::new()).await;
        let error = ended.unwrap_err();
        assert!(
            matches!(&error, Error::Store(error) if matches!(**error, store::Error::Refused(_))),
            "{error:?}"
        );
        let (mine, theirs) = if cluster == ours {
            ("default", install)
        } else {
            (&*ours, cluster)
        };
        let message = error.to_string();
        assert!(message.contains(mine) && message.contains(theirs), "{message}");
        assert_eq!(fixture.count("SELECT count(*) FROM everstep.owners").await, 0);
        assert!(fixture.controller_writes().await.is_empty());
    }
}
