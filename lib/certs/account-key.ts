import { createECDH, createPrivateKey, hkdfSync } from "node:crypto";

/** Order of the group of P-256. */
const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

/**
 * The key of the account at the CA with which the laptop orders certificates. It follows from a secret of the stack, so it is kept nowhere,
 * and everybody who has the stack's passphrase has the same account.
 * @param secret the passphrase of the server's key: 256 random bits, which another purpose than this one tells nothing about
 * @returns PEM, P-256
 */
export function accountKey(secret: string): string {
  // 128 bits more than the group's order has: no number is likelier than another (FIPS 186-5, A.2.1).
  const bytes = Buffer.from(hkdfSync("sha256", secret, "", "chillbox: key of the ACME account, 1", 48));
  const number = (BigInt(`0x${bytes.toString("hex")}`) % (order - 1n)) + 1n;
  const d = Buffer.from(number.toString(16).padStart(64, "0"), "hex");
  const curve = createECDH("prime256v1");
  curve.setPrivateKey(d);
  const point = curve.getPublicKey();
  const part = (bytes: Buffer) => bytes.toString("base64url");
  const key = { kty: "EC", crv: "P-256", d: part(d), x: part(point.subarray(1, 33)), y: part(point.subarray(33)) };
  return createPrivateKey({ key, format: "jwk" }).export({ type: "pkcs8", format: "pem" }).toString();
}
