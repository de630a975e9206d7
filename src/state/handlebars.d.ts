/** A template, which the build compiles. */
declare module '*.hbs' {
  const compiled: import('./template.js').CompiledTemplate;
  export default compiled;
}

/** The part of Handlebars that renders. Its own types declare it without contents. */
declare module 'handlebars/runtime.js' {
  import Handlebars from 'handlebars';
  export default Handlebars;
}
