//! The names of subscriptions: those of the configuration, and those given when a subscription is joined.

use std::collections::HashMap;

use receiver::SubscriptionId;

/// Which subscription has which name. A name is that of one subscription.
#[derive(Debug, Default)]
pub struct Names {
    names: HashMap<SubscriptionId, String>,
    ids: HashMap<String, SubscriptionId>,
}

impl Names {
    /// Gives a subscription a name. Changes nothing if another subscription has it.
    pub fn set(&mut self, id: SubscriptionId, name: &str) {
        if self.ids.get(name).is_some_and(|&other| other != id) {
            return;
        }
        self.remove(id);
        self.names.insert(id, name.to_owned());
        self.ids.insert(name.to_owned(), id);
    }

    /// Forgets the name of a subscription that was left.
    pub fn remove(&mut self, id: SubscriptionId) {
        if let Some(name) = self.names.remove(&id) {
            self.ids.remove(&name);
        }
    }

    /// The name of a subscription.
    pub fn of(&self, id: SubscriptionId) -> Option<&str> {
        self.names.get(&id).map(String::as_str)
    }

    /// The subscription with this name.
    pub fn id(&self, name: &str) -> Option<SubscriptionId> {
        self.ids.get(name).copied()
    }
}
