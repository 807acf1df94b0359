//! A limit that changes with the time of the week. Pure: the time comes in.

use std::fmt;

/// Minutes of a week.
const WEEK: u16 = 7 * DAY;
/// Minutes of a day.
const DAY: u16 = 24 * 60;
/// Days as they are written, from the first of the week on.
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
/// What stands for no limit.
const OFF: &str = "off";

/// A minute of the week, by the clock on the wall: the first is Monday's 00:00.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WeekMinute(u16);

/// What may be used a second, by the time of the week: the last step that has begun counts, until the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Ascending, and at least one; before the first of the week the last of the week before counts.
    steps: Vec<(WeekMinute, Option<u64>)>,
}

impl WeekMinute {
    /// The minute of a day, from 0 for Monday on. None if there is no such one.
    pub fn new(day: u32, hour: u32, minute: u32) -> Option<Self> {
        let is_there = day < 7 && hour < 24 && minute < 60;
        is_there.then(|| Self(day as u16 * DAY + hour as u16 * 60 + minute as u16))
    }
}

impl Schedule {
    /// The same at any time; 0 stands for no limit.
    pub fn always(rate: u64) -> Self {
        Self { steps: vec![(WeekMinute(0), limit(rate))] }
    }

    /// Reads a rate, such as `512k`, or steps, such as `08:00,512k 19:00,10M 23:00,off` or `Sat-00:00,off`, each of which
    /// counts until the next. A step without a day is one of each day. `rate` reads a rate.
    ///
    /// # Errors
    /// What is wrong, in words for a person.
    pub fn parse(text: &str, rate: impl Fn(&str) -> Result<u64, String>) -> Result<Self, String> {
        if !text.contains(',') {
            return rate(text).map(Self::always);
        }
        let mut steps = Vec::new();
        for step in text.split_whitespace() {
            let wrong = || format!("{step:?} is no step of a schedule, such as 08:00,512k or Sat-08:00,off");
            let (time, told) = step.split_once(',').ok_or_else(wrong)?;
            let limit = if told.eq_ignore_ascii_case(OFF) { None } else { limit(rate(told)?) };
            steps.extend(minutes(time).ok_or_else(wrong)?.into_iter().map(|minute| (minute, limit)));
        }
        steps.sort_by_key(|(minute, _)| *minute);
        if let Some(twice) = steps.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(format!("the schedule says twice what is from {} on", twice[0].0));
        }
        if steps.is_empty() { Err(format!("{text:?} has no step")) } else { Ok(Self { steps }) }
    }

    /// What may be used a second at this time; none if there is no limit then.
    pub fn at(&self, now: WeekMinute) -> Option<u64> {
        let begun = self.steps.iter().rev().find(|(minute, _)| *minute <= now).or(self.steps.last());
        begun.and_then(|(_, limit)| *limit)
    }

    /// The limit, if it is the same at any time.
    pub fn constant(&self) -> Option<u64> {
        let (_, first) = self.steps.first()?;
        self.steps.iter().all(|(_, limit)| limit == first).then_some(*first).flatten()
    }
}

/// As rclone has it: no bytes a second would be a job that never ends.
fn limit(rate: u64) -> Option<u64> {
    Some(rate).filter(|rate| *rate > 0)
}

/// The minutes of `HH:MM` on each day, or of `Day-HH:MM` on one.
fn minutes(text: &str) -> Option<Vec<WeekMinute>> {
    let (days, time) = match text.split_once('-') {
        Some((day, time)) => {
            let day = DAYS.iter().position(|known| known.eq_ignore_ascii_case(day))?;
            (day..day + 1, time)
        }
        None => (0..DAYS.len(), text),
    };
    let (hour, minute) = time.split_once(':')?;
    let number = |text: &str| if text.len() == 2 { text.parse().ok() } else { None };
    let (hour, minute) = (number(hour)?, number(minute)?);
    days.map(|day| WeekMinute::new(day as u32, hour, minute)).collect()
}

impl fmt::Display for WeekMinute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (day, minute) = (self.0 % WEEK / DAY, self.0 % DAY);
        write!(f, "{}-{:02}:{:02}", DAYS[usize::from(day)], minute / 60, minute % 60)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(text: &str) -> Result<u64, String> {
        text.parse().map_err(|_| format!("{text:?} is no rate"))
    }

    fn at(schedule: &Schedule, time: &str) -> Option<u64> {
        schedule.at(minutes(time).unwrap()[0])
    }

    #[test]
    fn each_step_counts_until_the_next_and_over_midnight() {
        let schedule = Schedule::parse("08:00,512 19:00,10 23:00,off", rate).unwrap();
        for (time, limit) in [
            ("Mon-00:00", None),
            ("Mon-07:59", None),
            ("Mon-08:00", Some(512)),
            ("Wed-18:59", Some(512)),
            ("Wed-19:00", Some(10)),
            ("Sun-23:00", None),
        ] {
            assert_eq!(at(&schedule, time), limit, "{time}");
        }
        assert_eq!(schedule.constant(), None);
    }

    #[test]
    fn days_of_the_week_have_steps_of_their_own() {
        let schedule = Schedule::parse("mon-08:00,1 Fri-18:00,off Sun-22:30,2", rate).unwrap();
        for (time, limit) in
            [("Mon-07:59", Some(2)), ("Thu-12:00", Some(1)), ("Sat-12:00", None), ("Sun-22:30", Some(2))]
        {
            assert_eq!(at(&schedule, time), limit, "{time}");
        }
    }

    #[test]
    fn a_rate_alone_is_the_same_at_any_time() {
        let schedule = Schedule::parse("77", rate).unwrap();
        assert_eq!((schedule.constant(), at(&schedule, "Tue-03:00")), (Some(77), Some(77)));
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_the_step() {
        for (wrong, told) in [
            ("08:00,512 9:00,1", "9:00,1"),
            ("24:00,1", "24:00"),
            ("08:60,1", "08:60"),
            ("Foo-08:00,1", "Foo-08:00"),
            ("08:00,much", "much"),
            ("08:00,1 12:00", "12:00"),
            ("08:00,1 Mon-08:00,2", "Mon-08:00"),
            ("much", "much"),
        ] {
            let error = Schedule::parse(wrong, rate).unwrap_err();
            assert!(error.contains(told), "{wrong}: {error}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[-0-9:,a-zM off]{0,30}", day in 0_u32..7, hour in 0_u32..24, minute in 0_u32..60) {
            if let Ok(schedule) = Schedule::parse(&text, rate) {
                schedule.at(WeekMinute::new(day, hour, minute).unwrap());
            }
        }
    }
}
