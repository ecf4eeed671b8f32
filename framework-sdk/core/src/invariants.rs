//! What must hold of a framework's side after every command.

use crate::context::Context;
use crate::launches::Outcome;

/// The first statement that does not hold.
pub(crate) fn check(context: &Context) -> Result<(), String> {
    context.tasks.check()?;
    context.requests.check()?;
    context.state.check()?;
    names_have_one_place(context)?;
    launches_have_their_task(context)?;
    tokens_are_below_the_mark(context)?;
    silent_while_offline(context)
}

/// A name waits, or has a live task, never both (I2).
fn names_have_one_place(context: &Context) -> Result<(), String> {
    match context.requests.names().find(|name| context.tasks.get(name).is_some_and(|t| t.is_live()))
    {
        Some(name) => Err(format!("{name} waits and has a live task")),
        None => Ok(()),
    }
}

/// Every launch under way has its entry in the table, so its name is taken (I1, I2).
fn launches_have_their_task(context: &Context) -> Result<(), String> {
    for (name, launch) in context.launches.iter() {
        let Some(task) = context.tasks.get(name).filter(|task| task.token() == launch.token) else {
            return Err(format!("launch of {name} under way without a task"));
        };
        if launch.outcome == Outcome::Unknown && task.is_certain {
            return Err(format!("{name} counts as certain, but its launch has no answer"));
        }
    }
    Ok(())
}

/// No token of this epoch is above the last one given out (K1).
fn tokens_are_below_the_mark(context: &Context) -> Result<(), String> {
    let mark = context.launches.last_sequence();
    match context
        .launches
        .iter()
        .find(|(_, launch)| launch.token.session == context.epoch && launch.token.sequence > mark)
    {
        Some((name, launch)) => Err(format!("{name} has token {:?}, mark {mark}", launch.token)),
        None => Ok(()),
    }
}

/// Calls that need a complete snapshot are not made before there is one.
fn silent_while_offline(context: &Context) -> Result<(), String> {
    if !context.is_online && !context.calls.is_empty() {
        return Err(format!("offline with calls: {:?}", context.calls));
    }
    Ok(())
}
