//! CronJob: a schedule, and the Jobs that it makes.

use mizzen_api::object::{Object, ObjectExt};
use mizzen_api::status::FieldError;
use serde_json::json;

use super::check::{Check, default, existing, section};
use super::{Context, Strategy, job};
use crate::cron::{Schedule, zone};

/// Jobs are named after it and the minute, in at most 63 bytes.
const MAX_NAME_BYTES: usize = 52;

/// Strategy of CronJob.
pub(super) struct CronJob;

impl Strategy for CronJob {
    fn default(&self, _: &Context<'_>, object: &mut Object) {
        let spec = section(object, "spec");
        default(spec, "concurrencyPolicy", "Allow");
        default(spec, "suspend", false);
        default(spec, "successfulJobsHistoryLimit", 3);
        default(spec, "failedJobsHistoryLimit", 1);
        if let Some(template) = existing(spec, "jobTemplate")
            && let Some(job) = existing(template, "spec")
        {
            job::template_defaults(job);
        }
    }

    fn prepare_create(&self, _: &Context<'_>, object: &mut Object) {
        object.insert("status".into(), json!({}));
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Vec<FieldError> {
        let check = Check::of(object);
        if !context.subresource.is_empty() {
            return check.finish();
        }
        let spec = check.field("spec");
        check_schedule(&spec);
        spec.field("startingDeadlineSeconds").not_negative();
        spec.field("concurrencyPolicy")
            .must_be_one_of(&["Allow", "Forbid", "Replace"]);
        spec.field("successfulJobsHistoryLimit").not_negative();
        spec.field("failedJobsHistoryLimit").not_negative();
        let job = spec.field("jobTemplate").field("spec");
        if job.field("manualSelector").bool() {
            job.field("manualSelector").one_of(&[]);
        }
        job::check_spec(&job);
        let name = check.field("metadata").field("name");
        if object.name().len() > MAX_NAME_BYTES {
            name.invalid(format!("must be no more than {MAX_NAME_BYTES} characters"));
        }
        check.finish()
    }
}

fn check_schedule(spec: &Check<'_>) {
    let (schedule, time_zone) = (spec.field("schedule"), spec.field("timeZone"));
    if schedule.must_exist("") {
        if schedule.str().contains("TZ") {
            schedule.invalid("cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
        } else if let Err(problem) = Schedule::parse(schedule.str()) {
            schedule.invalid(problem);
        }
    }
    if !time_zone.exists() {
        return;
    }
    if time_zone.is_empty() {
        time_zone.invalid("timeZone must be nil or non-empty string");
    } else if time_zone.str().eq_ignore_ascii_case("local") {
        time_zone.invalid("timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones");
    } else if let Err(problem) = zone(Some(time_zone.str())) {
        time_zone.invalid(problem);
    }
}
