//! One Pipeline as it is wanted at this moment: what plans look at, and the drawing of its objects.
//!
//! Brings together the resolved spec, the passwords of the live Secret, and what the live ConfigMap
//! says of directives that were taken out of the spec.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;

use super::{
    caches::Caches,
    object::Object,
    observe::Questions,
    ownership::{Owner, Standing},
    plan::{
        Drawing, Moment, SliceDrawing, Wanted, config_file::Wish, credentials::Knowledge,
        roles::Endpoints,
    },
    resolve::{Defaults, resolve},
};
use crate::{
    api::{
        ExporterSpec, Pipeline, PipelineSpec, directive, label, names::Names, resolved::Resolved,
    },
    redis::Credentials,
    render::{
        self, AddressFamily, Objects, Passwords, Slices, hash, server_config,
        user::{Identity, doubtful_keys, says_what_is_in_force},
    },
};

/// The passwords of a Pipeline, in mind for when something happens to its Secret.
#[derive(Clone, Debug)]
pub struct Kept {
    passwords: Passwords,
    /// Whether a server has accepted the operator's.
    have_worked: bool,
}

/// A Pipeline that can be followed.
#[derive(Debug)]
pub struct Sketch {
    /// What plans look at.
    pub wanted: Wanted,
    /// The operator's user, once the Secret is there.
    pub credentials: Option<Credentials>,
    resolved: Resolved,
    passwords: Passwords,
    family: Option<AddressFamily>,
}

/// A Pipeline whose spec cannot be followed: the group that was made before it went bad is still served.
#[derive(Debug)]
pub struct Refused {
    /// What can be said of it without a good spec.
    pub wanted: Wanted,
    /// The operator's user, if the group was made before the spec went bad.
    pub credentials: Option<Credentials>,
    /// What is wrong, with remedies.
    pub errors: String,
    /// What its slices are drawn from, unless its name is what is wrong.
    plain: Option<Resolved>,
    family: Option<AddressFamily>,
}

impl Sketch {
    /// Sketches a Pipeline; `kept` are its passwords as they were seen last.
    ///
    /// # Errors
    /// When its spec cannot be followed.
    pub fn of(
        pipeline: &Pipeline,
        caches: &Caches,
        defaults: &Defaults,
        kept: &mut Option<Kept>,
    ) -> Result<Self, Box<Refused>> {
        let namespace = pipeline.metadata.namespace.as_deref().unwrap_or_default();
        let names = Names::new(pipeline.metadata.name.as_deref().unwrap_or_default());
        let owner = Owner {
            pipeline: names.pipeline(),
            uid: pipeline.metadata.uid.as_deref().unwrap_or_default(),
        };
        let is_ours = |secret: &Arc<Secret>| {
            !matches!(owner.standing(&secret.metadata), Standing::Foreign(_))
        };
        let secret = caches.secrets.get(namespace, &names.users_secret());
        let (passwords, knowledge) = Kept::settle(kept, secret.filter(is_ours).as_deref());
        let credentials = knowledge.is_known.then(|| Credentials {
            user: Identity::Operator.key().to_owned(),
            password: passwords.of(Identity::Operator).to_owned(),
        });
        let service = caches.services.get(namespace, &names.data());
        let family = service.as_deref().and_then(AddressFamily::of_service);
        let resolved = match resolve(pipeline, defaults) {
            Ok(resolved) => resolved,
            Err(error) => {
                return Err(Box::new(Refused {
                    plain: plain(pipeline, caches, defaults, &names),
                    wanted: without_spec(namespace, caches, names),
                    credentials,
                    errors: error.to_string(),
                    family,
                }));
            }
        };
        let config_map = caches.config_maps.get(namespace, &names.data());
        let before = config_map
            .as_ref()
            .and_then(|live| live.annotations().get(label::LIVE_DIRECTIVES))
            .map_or("", String::as_str);
        Ok(Self {
            wanted: Wanted {
                passwords: knowledge,
                ..wanted(&resolved, before)
            },
            credentials,
            passwords,
            family,
            resolved,
        })
    }

    /// Who to ask, and what.
    #[must_use]
    pub fn questions(&self) -> Questions {
        Questions {
            credentials: self.credentials.clone(),
            config_keys: self
                .wanted
                .live
                .keys()
                .cloned()
                .chain([server_config::NAME_DIRECTIVE.to_owned()])
                .collect(),
        }
    }
}

impl Refused {
    /// Who to ask, and what.
    #[must_use]
    pub fn questions(&self) -> Questions {
        Questions {
            credentials: self.credentials.clone(),
            config_keys: BTreeSet::new(),
        }
    }
}

impl Kept {
    /// The passwords to go on with, and what is to be said of them, from those in mind and those in
    /// the Secret.
    ///
    /// Passwords that a server has accepted stay, whatever stands in the Secret. Others give way to
    /// the Secret while there is one: somebody may have put the right one back.
    fn settle(kept: &mut Option<Self>, secret: Option<&Secret>) -> (Passwords, Knowledge) {
        let in_use = kept
            .as_ref()
            .filter(|kept| kept.have_worked || secret.is_none());
        let have_worked = in_use.is_some_and(|kept| kept.have_worked);
        // Drawn even when nothing is missing: random bytes cost less than a second path.
        let random = rand::random();
        let passwords = Passwords::complete(in_use.map(|kept| &kept.passwords), secret, &random);
        let doubtful = secret.filter(|_| in_use.is_none()).map(doubtful_keys);
        let doubtful = doubtful.unwrap_or_default();
        let changed = secret.filter(|secret| have_worked || says_what_is_in_force(secret));
        let knowledge = Knowledge {
            is_known: in_use.is_some() || secret.is_some(),
            changed: changed
                .map(|secret| passwords.keys_that_differ(secret))
                .unwrap_or_default(),
            doubtful,
        };
        if secret.is_some() && knowledge.doubtful.is_empty() {
            *kept = Some(Self {
                passwords: passwords.clone(),
                have_worked,
            });
        }
        (passwords, knowledge)
    }

    /// Notes that a server has accepted the operator's password.
    pub fn have_worked(kept: &mut Option<Self>) {
        if let Some(kept) = kept {
            kept.have_worked = true;
        }
    }
}

impl Drawing for Sketch {
    fn draw(&self, moment: &Moment) -> Vec<Object> {
        let mut objects = render::objects(&self.resolved, &self.passwords);
        let data = i32::from(moment.data);
        if objects.stateful_set.spec.replicas != Some(data) {
            objects.stateful_set.spec.replicas = Some(data);
            objects.stateful_set.annotations_mut().remove(label::HASH);
            objects.stateful_set = hash::stamp(objects.stateful_set);
        }
        let dukes = i32::try_from(moment.dukes).ok();
        if objects.deployment.spec.replicas != dukes || moment.is_fresh {
            objects.deployment.spec.replicas = dukes;
            if moment.is_fresh {
                render::deployment::replace_at_once(&mut objects.deployment);
            }
            objects.deployment.annotations_mut().remove(label::HASH);
            objects.deployment = hash::stamp(objects.deployment);
        }
        if moment.budget_closed.is_some() {
            let budget = render::budget::data(&self.resolved, moment.budget_closed);
            objects.data_budget = hash::stamp(budget);
        }
        let files = server_config::config_map(&self.resolved, &moment.files);
        objects.data_config = hash::stamp(files);
        let mut all = list(objects);
        all.extend(self.draw_slices(&moment.endpoints));
        all
    }
}

impl SliceDrawing for Sketch {
    fn draw_slices(&self, endpoints: &Endpoints) -> Vec<Object> {
        draw_slices(&self.resolved, self.family, endpoints)
    }
}

impl SliceDrawing for Refused {
    fn draw_slices(&self, endpoints: &Endpoints) -> Vec<Object> {
        let plain = self.plain.iter();
        plain
            .flat_map(|resolved| draw_slices(resolved, self.family, endpoints))
            .collect()
    }
}

fn draw_slices(
    resolved: &Resolved,
    family: Option<AddressFamily>,
    endpoints: &Endpoints,
) -> Vec<Object> {
    let Endpoints {
        leads_to_master,
        master,
        dukes,
        exporters,
    } = endpoints;
    let master = leads_to_master.then_some(master.as_ref());
    // A slice's family is fixed when it is made, so it is not made before it is known.
    let any = dukes.iter().chain(exporters).next();
    let Some(family) = family.or_else(|| Some(AddressFamily::of(any?.address))) else {
        return Vec::new();
    };
    let Slices {
        redis,
        duke,
        metrics,
    } = render::slices(resolved, family, master, dukes, exporters);
    [redis, Some(duke), metrics]
        .into_iter()
        .flatten()
        .map(|slice| Object::EndpointSlice(Arc::new(slice)))
        .collect()
}

/// All objects in the order in which they are applied: an object without a place here would not be
/// applied at all, which the compiler does not let pass.
fn list(objects: Objects) -> Vec<Object> {
    let Objects {
        users,
        data_config,
        duke_config,
        data_service,
        replicas_service,
        pods_service,
        duke_service,
        data_budget,
        duke_budget,
        stateful_set,
        deployment,
    } = objects;
    vec![
        Object::Secret(Arc::new(users)),
        Object::ConfigMap(Arc::new(data_config)),
        Object::ConfigMap(Arc::new(duke_config)),
        Object::Service(Arc::new(pods_service)),
        Object::StatefulSet(Arc::new(stateful_set)),
        Object::Deployment(Arc::new(deployment)),
        Object::Service(Arc::new(data_service)),
        Object::Service(Arc::new(duke_service)),
        Object::Service(Arc::new(replicas_service)),
        Object::DisruptionBudget(Arc::new(data_budget)),
        Object::DisruptionBudget(Arc::new(duke_budget)),
    ]
}

fn wanted(resolved: &Resolved, live_before: &str) -> Wanted {
    let mut live = resolved.data.live();
    let own: BTreeSet<String> = live.keys().cloned().collect();
    let resets: BTreeMap<String, String> = live_before
        .split([',', ' '])
        .filter(|name| !name.is_empty() && !live.contains_key(*name))
        .filter_map(|name| Some((name.to_owned(), directive::default_value(name)?.to_owned())))
        .collect();
    live.extend(resets);
    let duke = &resolved.duke;
    let dukes = u32::from(duke.replicas);
    let quorum = u32::from(duke.quorum);
    Wanted {
        names: resolved.names.clone(),
        data: resolved.data.replicas,
        dukes,
        quorum: (quorum != dukes / 2 + 1).then_some(quorum),
        live,
        file: Wish {
            text: server_config::text(&resolved.data),
            live: own.into_iter().collect::<Vec<_>>().join(" "),
        },
        duke_settings: duke
            .settings
            .iter()
            .map(|(option, value)| ((*option).to_owned(), value.to_string()))
            .collect(),
        persists: resolved.data.persists(),
        passwords: Knowledge::default(),
    }
}

/// What is needed to go on serving a group whose spec went bad: as many pods as it was given last.
fn without_spec(namespace: &str, caches: &Caches, names: Names) -> Wanted {
    let stateful_set = caches.stateful_sets.get(namespace, &names.data());
    let data = stateful_set.and_then(|live| u16::try_from(live.spec.replicas?).ok());
    let deployment = caches.deployments.get(namespace, &names.duke());
    let dukes = deployment.and_then(|live| u32::try_from(live.spec.replicas?).ok());
    Wanted {
        names,
        data: data.unwrap_or(1).max(1),
        dukes: dukes.unwrap_or(1).max(1),
        quorum: None,
        live: BTreeMap::new(),
        file: Wish::default(),
        duke_settings: BTreeMap::new(),
        persists: false,
        passwords: Knowledge::default(),
    }
}

/// The same Pipeline with nothing in its spec but what its slices show: whether there are exporters.
fn plain(
    pipeline: &Pipeline,
    caches: &Caches,
    defaults: &Defaults,
    names: &Names,
) -> Option<Resolved> {
    let namespace = pipeline.metadata.namespace.as_deref().unwrap_or_default();
    let slice = caches.slices.get(namespace, &names.metrics_slice());
    let mut plain = pipeline.clone();
    plain.spec = PipelineSpec::default();
    plain.spec.pipeline.exporter = slice.map(|_| ExporterSpec {
        enabled: true,
        ..ExporterSpec::default()
    });
    resolve(&plain, defaults).ok()
}
