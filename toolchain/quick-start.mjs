/**
 * Loaded before the program (`nodeargs` in Pulumi.yaml): Pulumi's SDK loads at its start what it needs to send functions to other machines
 * (the TypeScript compiler, npm's own resolver, Node's debugger) and to trace itself. The program does neither. These parts are loaded when
 * they are first used instead, which halves the time until the program asks for its first resource.
 *
 * It rests on nothing but the names of modules: one that another version of the SDK does not have is left alone.
 */
import { createRequire } from "node:module";
import "./stripped-types.mjs";

// The program's own copy of the SDK: what Node was told to run is `cmd/run` in it.
const fromSdk = createRequire(`${process.argv[1]}/index.js`);
const isTraced = process.env.TRACEPARENT !== undefined || process.argv.some((word) => word.startsWith("--tracing"));

later("typescript", whole);
later("normalize-package-data", whole);
// Said to be an ES module: of any other the SDK copies all that is in it.
later("@npmcli/arborist", (load) => whole(load, true));
later("@pulumi/pulumi/runtime/closure/v8Hooks.js", (load) => ({
  // Asked for at each start, to be ready for functions: the one that is asked for then connects by itself.
  isInitializedAsync: async () => undefined,
  getSessionAsync: () => load().getSessionAsync(),
  getScriptUrl: (id) => load().getScriptUrl(id),
}));
keepDebugMessages();
if (!isTraced) {
  forgetWherePromisesBegan();
  for (const part of [
    "resources",
    "sdk-trace-base",
    "exporter-zipkin",
    "instrumentation-grpc",
    "sdk-trace-node",
    "instrumentation",
  ]) {
    later(`@opentelemetry/${part}`, parts);
  }
}

/**
 * The SDK tells the engine of each resource three times that it goes well, one message after the other, and its end waits for the last: a third
 * of the time of a program with many resources. The engine shows them with `--debug` alone, which `npm run up` refuses.
 */
function keepDebugMessages() {
  const path = pathOf("@pulumi/pulumi/log/index.js");
  if (path !== undefined) fromSdk(path).debug = () => Promise.resolve();
}

/** The SDK notes the stack of each of its promises, for a message about those that never end: a tenth of all its work. */
function forgetWherePromisesBegan() {
  const path = pathOf("@pulumi/pulumi/runtime/debuggable.js");
  if (path === undefined) return;
  const debuggable = fromSdk(path);
  const { debuggablePromise } = debuggable;
  debuggable.debuggablePromise = (promise, context) => {
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    try {
      return debuggablePromise(promise, context);
    } finally {
      Error.stackTraceLimit = limit;
    }
  };
}

/** Puts what `make` makes in the place of a CommonJS module; `make` gets a function that loads the real one. */
function later(name, make) {
  const path = pathOf(name);
  if (path === undefined) return;
  let real;
  const load = () => {
    if (real === undefined) {
      delete fromSdk.cache[path];
      real = fromSdk(path);
    }
    return real;
  };
  fromSdk.cache[path] = {
    id: path,
    filename: path,
    path,
    loaded: true,
    standsIn: true,
    children: [],
    paths: [],
    exports: make(load),
  };
}

function pathOf(name) {
  try {
    return fromSdk.resolve(name);
  } catch {
    return undefined;
  }
}

/** Stands for a module, or a part of one, until somebody looks into it. Importing it asks whether it is an ES module: no reason to load. */
function whole(load, isEsModule = false) {
  // A function of the old kind, because an arrow function could not stand for a class.
  return new Proxy(function standIn() {}, {
    get: (_, key) => (key === "__esModule" ? isEsModule : load()[key]),
    has: (_, key) => key in load(),
    apply: (_, self, words) => Reflect.apply(load(), self, words),
    construct: (_, words) => Reflect.construct(load(), words),
  });
}

/** Stands for a module of which functions and classes are taken by name right away, and called later. */
function parts(load) {
  return new Proxy({}, { get: (_, key) => whole(() => load()[key]) });
}
