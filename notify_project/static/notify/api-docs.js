// @ts-check
/** The page of the API: Swagger UI over `/api/schema/`. */

const docs = /** @type {HTMLElement} */ (document.getElementById("docs"));

/** @returns {string | undefined} what Django wants to see of a session that changes something */
function csrfToken() {
  return document.cookie.match(/(?:^|; )csrftoken=([^;]+)/)?.[1];
}

// @ts-ignore: a global of the bundle, which stands before this module
SwaggerUIBundle({
  domNode: docs,
  url: docs.dataset.schema,
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  tryItOutEnabled: false,
  // Nobody else is asked whether the description is right.
  validatorUrl: null,
  /** @param {any} request */
  requestInterceptor(request) {
    const token = csrfToken();
    const isOurs = new URL(request.url, location.href).origin === location.origin;
    if (isOurs && token && !request.headers.Authorization) request.headers["X-CSRFToken"] = token;
    return request;
  },
});
