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
    plan::{Drawing, Moment, SliceDrawing, Wanted, roles::Endpoints},
    resolve::{Defaults, resolve},
};
use crate::{
    api::{
        ExporterSpec, Pipeline, PipelineSpec, directive, label, names::Names, resolved::Resolved,
    },
    redis::Credentials,
    render::{self, AddressFamily, Objects, Passwords, Slices, hash, user::Identity},
};

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
    /// Sketches a Pipeline; `kept` is its Secret as it was seen last.
    ///
    /// # Errors
    /// When its spec cannot be followed.
    pub fn of(
        pipeline: &Pipeline,
        caches: &Caches,
        defaults: &Defaults,
        kept: &mut Option<Arc<Secret>>,
    ) -> Result<Self, Box<Refused>> {
        let namespace = pipeline.metadata.namespace.as_deref().unwrap_or_default();
        let names = Names::new(pipeline.metadata.name.as_deref().unwrap_or_default());
        let live = caches.secrets.get(namespace, &names.users_secret());
        if live.is_some() {
            kept.clone_from(&live);
        }
        // Running servers go on with the passwords of a Secret that somebody has deleted.
        let secret = live.or_else(|| kept.clone());
        let service = caches.services.get(namespace, &names.data());
        let family = service.as_deref().and_then(AddressFamily::of_service);
        let resolved = match resolve(pipeline, defaults) {
            Ok(resolved) => resolved,
            Err(error) => {
                return Err(Box::new(Refused {
                    plain: plain(pipeline, caches, defaults, &names),
                    wanted: without_spec(namespace, caches, names),
                    credentials: secret.as_deref().and_then(credentials),
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
        // Drawn even when nothing is missing: random bytes cost less than a second path.
        let random = rand::random();
        Ok(Self {
            wanted: wanted(&resolved, before),
            credentials: secret.as_deref().and_then(credentials),
            passwords: Passwords::complete(secret.as_deref(), &random),
            family,
            resolved,
        })
    }

    /// Who to ask, and what.
    #[must_use]
    pub fn questions(&self) -> Questions {
        Questions {
            credentials: self.credentials.clone(),
            config_keys: self.wanted.live.keys().cloned().collect(),
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
        if objects.deployment.spec.replicas != dukes {
            objects.deployment.spec.replicas = dukes;
            objects.deployment.annotations_mut().remove(label::HASH);
            objects.deployment = hash::stamp(objects.deployment);
        }
        if moment.budget_closed.is_some() {
            let budget = render::budget::data(&self.resolved, moment.budget_closed);
            objects.data_budget = hash::stamp(budget);
        }
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
    let resets: BTreeMap<String, String> = live_before
        .split([',', ' '])
        .filter(|name| !name.is_empty() && !live.contains_key(*name))
        .filter_map(|name| Some((name.to_owned(), directive::default_value(name)?.to_owned())))
        .collect();
    let reset_names = resets.keys().cloned().collect();
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
        resets: reset_names,
        duke_settings: duke
            .settings
            .iter()
            .map(|(option, value)| ((*option).to_owned(), value.to_string()))
            .collect(),
        persists: resolved.data.persists(),
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
        resets: BTreeSet::new(),
        duke_settings: BTreeMap::new(),
        persists: false,
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

fn credentials(secret: &Secret) -> Option<Credentials> {
    let user = Identity::Operator.key();
    let password = &secret.data.as_ref()?.get(user)?.0;
    let password = String::from_utf8(password.clone()).ok()?;
    Some(Credentials {
        user: user.to_owned(),
        password,
    })
}
