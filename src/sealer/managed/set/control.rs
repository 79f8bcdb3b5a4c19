//! Control planes: what they say of partitions is asked for again and again.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::crypteron::{Asking, Roll, Rollover, Watch, Watched};
use super::super::settings::Provider;
use super::{ProfileError, Profiles};
use crate::clock::SharedClock;
use crate::keyring::Keyring;
use crate::name::PartitionName;

impl Profiles {
    /// Begins to ask the control planes of all profiles that have one; `roll` is how a new version of theirs is followed.
    pub fn watch(
        &self,
        keyring: &Arc<Keyring>,
        clock: &SharedClock,
        roll: &Roll,
    ) -> Result<HashMap<PartitionName, Watched>, ProfileError> {
        let mut all = HashMap::new();
        for line in self.lines.values() {
            let (Provider::Crypteron(crypteron), Some(handle)) = (&line.settings.provider, self.handle()) else {
                continue;
            };
            let (profile, partition) = (&line.settings.name, line.settings.partition.clone());
            let rollover =
                Rollover::new(keyring, Arc::clone(clock), profile, partition.clone(), crypteron, Arc::clone(roll))
                    .map_err(|text| {
                        let text = text.strip_prefix(&format!("profile `{profile}` ")).unwrap_or(&text).to_owned();
                        ProfileError::Profile(Arc::clone(profile), text)
                    })?;
            let watch = Watch {
                profile: Arc::clone(profile),
                poll: crypteron.poll,
                max_stale: line.settings.max_stale,
                clock: Arc::clone(clock),
                rollover,
            };
            let line = Arc::clone(line);
            let ask = move || -> Asking {
                let line = Arc::clone(&line);
                Box::pin(async move { line.standing().await })
            };
            all.insert(partition, Watched::start(handle, watch, ask));
        }
        Ok(all)
    }
}
