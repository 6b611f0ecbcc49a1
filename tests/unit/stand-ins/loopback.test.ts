import assert from "node:assert/strict";
import { test } from "node:test";
import { addressFaults, readSettings, withRegion } from "../../../toolchain/stand-ins/digitalocean/settings.ts";
import { unknown } from "../../../toolchain/stand-ins/plugin/wire.ts";

const proxy = { HTTP_PROXY: "http://127.0.0.1:8082" };
const local = "http://127.0.0.1:8081";
const spaces = "http://{{.Region}}.spaces.test";

const allowed: [string, Record<string, unknown>, NodeJS.ProcessEnv][] = [
  ["loopback by number", { apiEndpoint: local }, {}],
  ["all of 127.0.0.0/8", { apiEndpoint: "http://127.8.7.6:1" }, {}],
  ["loopback by name", { apiEndpoint: "http://localhost:8081" }, {}],
  ["loopback by IPv6", { apiEndpoint: "http://[::1]:8081" }, {}],
  ["the variable", {}, { DIGITALOCEAN_API_URL: local }],
  ["names under .test through a loopback proxy", { apiEndpoint: local, spacesEndpoint: spaces }, proxy],
  ["the proxy's other spelling", { apiEndpoint: local, spacesEndpoint: spaces }, { http_proxy: "http://localhost:1" }],
  ["what is not known yet", { apiEndpoint: unknown, spacesEndpoint: unknown }, {}],
];

for (const [what, config, environment] of allowed) {
  test(`the digitalocean stand-in may use ${what}`, () => {
    assert.deepEqual(addressFaults(config, environment), []);
  });
}

const refused: [string, Record<string, unknown>, NodeJS.ProcessEnv, string][] = [
  ["the real API", { apiEndpoint: "https://api.digitalocean.com" }, proxy, "apiEndpoint"],
  ["the real API by default", {}, proxy, "apiEndpoint"],
  ["the real API by variable", {}, { DIGITALOCEAN_API_URL: "https://api.digitalocean.com" }, "apiEndpoint"],
  ["another machine", { apiEndpoint: "http://192.0.2.1:8081" }, proxy, "apiEndpoint"],
  ["a name that starts like loopback", { apiEndpoint: "http://127.0.0.1.example.com" }, proxy, "apiEndpoint"],
  ["loopback as a user name", { apiEndpoint: "http://127.0.0.1@192.0.2.1" }, proxy, "apiEndpoint"],
  ["an API under .test", { apiEndpoint: "http://api.test" }, proxy, "apiEndpoint"],
  ["another scheme", { apiEndpoint: "ftp://127.0.0.1" }, proxy, "apiEndpoint"],
  ["no address", { apiEndpoint: "127.0.0.1:8081" }, proxy, "apiEndpoint"],
  ["real Spaces", { spacesEndpoint: "https://{{.Region}}.digitaloceanspaces.com" }, proxy, "spacesEndpoint"],
  ["names under .test without a proxy", { spacesEndpoint: spaces }, {}, "spacesEndpoint"],
  [
    "names under .test through a far proxy",
    { spacesEndpoint: spaces },
    { HTTP_PROXY: "http://192.0.2.1:3128" },
    "spacesEndpoint",
  ],
  ["names under .test by https", { spacesEndpoint: "https://nyc3.spaces.test" }, proxy, "spacesEndpoint"],
  ["Spaces by variable", {}, { SPACES_ENDPOINT_URL: "https://nyc3.digitaloceanspaces.com" }, "spacesEndpoint"],
];

for (const [what, config, environment, property] of refused) {
  test(`the digitalocean stand-in refuses ${what}`, () => {
    const whole = property === "spacesEndpoint" ? { apiEndpoint: local, ...config } : config;
    assert.deepEqual(
      addressFaults(whole, environment).map((failure) => failure.property),
      [property],
    );
    assert.throws(
      () => readSettings({ token: "t", ...whole }, environment),
      new RegExp(`the digitalocean stand-in refuses ${property} '`),
    );
  });
}

test("settings come from the configuration, then from the variables of the official plugin", () => {
  const environment = {
    DIGITALOCEAN_TOKEN: "e",
    SPACES_ACCESS_KEY_ID: "id",
    DIGITALOCEAN_HTTP_RETRY_MAX: "0",
    ...proxy,
  };
  const settings = readSettings({ apiEndpoint: local, token: "t", httpRetryWaitMax: "5" }, environment);
  assert.equal(settings.token, "t");
  assert.equal(settings.spacesAccessId, "id");
  assert.equal(settings.httpRetryMax, 0);
  assert.equal(settings.httpRetryWaitMin, 1);
  assert.equal(settings.httpRetryWaitMax, 5);
  assert.equal(settings.proxy, "http://127.0.0.1:8082");
  assert.equal(readSettings({ apiEndpoint: local }, environment).token, "e");
  assert.throws(() => readSettings({ apiEndpoint: local, httpRetryMax: "x" }, {}), /httpRetryMax must be a number/);
});

test("the region is filled into the address of Spaces in lower case", () => {
  assert.equal(withRegion("http://{{.Region}}.spaces.test", "NYC3"), "http://nyc3.spaces.test");
  assert.equal(withRegion("http://{{ .Region }}.spaces.test", "ams3"), "http://ams3.spaces.test");
});
