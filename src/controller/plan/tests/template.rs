//! Which pod template is in force: the one that was rendered for what the user asks.

use std::sync::Arc;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, StatefulSet},
        core::v1::{Container, PodSpec, PodTemplateSpec},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::scene::Scene;
use crate::{
    api::{
        condition::{ConditionType, Reason},
        label,
    },
    controller::{
        object::{Kind, Object},
        plan::template::keep,
    },
};

fn template(image: &str, policy: Option<&str>) -> PodTemplateSpec {
    PodTemplateSpec {
        spec: Some(PodSpec {
            containers: vec![Container {
                name: "pipeline".to_owned(),
                image: Some(image.to_owned()),
                termination_message_policy: policy.map(str::to_owned),
                ..Container::default()
            }],
            ..PodSpec::default()
        }),
        ..PodTemplateSpec::default()
    }
}

fn annotated(name: &str, asked: Option<&str>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        annotations: asked.map(|asked| [(label::MADE_FOR.to_owned(), asked.to_owned())].into()),
        ..ObjectMeta::default()
    }
}

fn stateful_set(asked: Option<&str>, template: PodTemplateSpec, replicas: i32) -> Object {
    let mut object = StatefulSet {
        metadata: annotated("pipeline-tea", asked),
        ..StatefulSet::default()
    };
    object.spec.template = template;
    object.spec.replicas = Some(replicas);
    Object::StatefulSet(Arc::new(object))
}

fn deployment(asked: Option<&str>, template: PodTemplateSpec) -> Object {
    let mut object = Deployment {
        metadata: annotated("duke-tea", asked),
        ..Deployment::default()
    };
    object.spec.template = template;
    Object::Deployment(Arc::new(object))
}

/// A Pipeline whose objects a former operator made from `before`, and what it is to have now.
fn upgrade(before: Vec<Object>, mut now: Vec<Object>) -> (Vec<Object>, Vec<Kind>) {
    let mut scene = Scene::settled(3, 3);
    scene.seen.status.observed_generation = scene.seen.spec_generation;
    scene.seen.live = before.into_iter().map(|one| (one.id(), one)).collect();
    let behind = keep(&mut now, &scene.seen);
    (now, behind)
}

/// The same as an operator of this version leaves it.
fn applied(object: Object) -> Object {
    let (mut made, behind) = upgrade(Vec::new(), vec![object]);
    assert_eq!(behind, []);
    made.remove(0)
}

fn image(object: &Object) -> String {
    let value = object.to_value().unwrap();
    let image = &value["spec"]["template"]["spec"]["containers"][0]["image"];
    image.as_str().unwrap().to_owned()
}

#[test]
fn another_rendering_waits_until_the_user_asks_for_other_pods() {
    let before = applied(stateful_set(Some("asked"), template("old", None), 3));
    let again = stateful_set(Some("asked"), template("new", None), 5);
    let (made, behind) = upgrade(vec![before.clone()], vec![again]);
    assert_eq!(behind, [Kind::StatefulSet]);
    assert_eq!(image(&made[0]), "old");
    assert_eq!(made[0].to_value().unwrap()["spec"]["replicas"], 5);

    let otherwise = stateful_set(Some("other"), template("new", None), 3);
    let (made, behind) = upgrade(vec![before], vec![otherwise]);
    assert_eq!((image(&made[0]), behind), ("new".to_owned(), Vec::new()));
}

#[test]
fn a_template_that_waits_is_the_same_from_pass_to_pass() {
    let before = applied(deployment(Some("asked"), template("old", None)));
    let again = || deployment(Some("asked"), template("new", None));
    let (first, _) = upgrade(vec![before.clone()], vec![again()]);
    assert_eq!(first[0].hash(), before.hash(), "nothing is written");
    let (second, behind) = upgrade(first.clone(), vec![again()]);
    assert_eq!((second, behind), (first, vec![Kind::Deployment]));
}

#[test]
fn what_others_changed_in_a_template_is_put_right_as_it_was_rendered() {
    let before = applied(stateful_set(Some("asked"), template("old", None), 3));
    let Object::StatefulSet(edited) = &before else {
        panic!("a StatefulSet was drawn");
    };
    let mut edited = edited.as_ref().clone();
    edited.spec.template = template("mine", None);
    let edited = Object::StatefulSet(Arc::new(edited));
    let again = stateful_set(Some("asked"), template("new", None), 3);
    let (made, _) = upgrade(vec![edited], vec![again]);
    assert_eq!(image(&made[0]), "old");
}

#[test]
fn objects_of_a_version_without_annotations_roll_nobody() {
    let defaulted = || template("old", Some("File"));
    let live = vec![
        stateful_set(None, defaulted(), 3),
        deployment(None, defaulted()),
    ];
    let drawn = |image: &str| {
        vec![
            stateful_set(Some("asked"), template(image, None), 3),
            deployment(Some("asked"), template(image, None)),
        ]
    };
    let (made, behind) = upgrade(live.clone(), drawn("new"));
    assert_eq!(behind, [Kind::StatefulSet, Kind::Deployment]);
    for object in &made {
        let value = object.to_value().unwrap();
        let wanted = serde_json::to_value(defaulted()).unwrap();
        assert_eq!(value["spec"]["template"], wanted);
    }
    // The same template in other words is not behind, and is not written in other words either.
    let (made, behind) = upgrade(live.clone(), drawn("old"));
    assert_eq!(behind, []);
    let value = made[0].to_value().unwrap();
    let wanted = serde_json::to_value(defaulted()).unwrap();
    assert_eq!(value["spec"]["template"], wanted);

    // A change that the former version has not looked at is not swallowed.
    let mut scene = Scene::settled(3, 3);
    scene.seen.status.observed_generation = Some(0);
    scene.seen.live = live.into_iter().map(|one| (one.id(), one)).collect();
    let mut now = drawn("new");
    assert_eq!(keep(&mut now, &scene.seen), []);
    assert_eq!(image(&now[0]), "new");
}

#[test]
fn a_note_that_cannot_be_read_rolls_nobody() {
    let before = applied(stateful_set(Some("asked"), template("old", None), 3));
    let Object::StatefulSet(spoilt) = &before else {
        panic!("a StatefulSet was drawn");
    };
    let mut spoilt = spoilt.as_ref().clone();
    let annotations = spoilt.metadata.annotations.as_mut().unwrap();
    annotations.insert(label::TEMPLATE.to_owned(), "{".to_owned());
    let again = stateful_set(Some("asked"), template("new", None), 3);
    let (made, _) = upgrade(vec![Object::StatefulSet(Arc::new(spoilt))], vec![again]);
    assert_eq!(image(&made[0]), "old");
}

#[test]
fn the_status_tells_of_a_newer_template_and_stays_ready() {
    let mut scene = Scene::settled(3, 3);
    scene.seen.status.observed_generation = scene.seen.spec_generation;
    let plan = scene.plan_newer_duke();
    let mut conditions = plan.status.conditions.iter();
    let updated = conditions.find(|known| known.type_ == ConditionType::Updated.as_str());
    let updated = updated.unwrap();
    assert_eq!(updated.status, "True");
    assert_eq!(updated.reason, Reason::UpdateAvailable.as_str());
    assert!(
        updated.message.contains("make the Dukes otherwise"),
        "{}",
        updated.message
    );
    assert!(
        updated.message.contains(label::RESTARTED_AT),
        "{}",
        updated.message
    );
}
