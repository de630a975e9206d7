// dbus-next constructs both, and calls them for introspection only.
exports.Builder = class {};
exports.Parser = class {};
